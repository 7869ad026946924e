"""What names of tables and columns say: their words, and how they mark keys and times."""

from __future__ import annotations

import re

KEY_WORDS = frozenset({"id", "ids", "key", "pk", "sk", "fk", "uuid", "guid", "oid", "rowid"})
CODE_WORDS = frozenset(
    {"code", "ref", "slug", "sku", "nr", "no", "num", "number", "isbn", "iso", "ean", "upc", "symbol"}
)
LINE_WORDS = frozenset(
    {"line", "item", "seq", "sequence", "position", "pos", "index", "idx", "step", "version", "rank", "row", "part"}
)
"""Words for the number of a row within its parent, as in ``order_items(order_id, line)``."""
SELF_NAMES = frozenset(
    {"parent", "predecessor", "successor", "ancestor", "previous", "prev", "next", "original", "root", "reply to",
     "in reply to", "duplicate of", "replaced by", "superseded by", "parent of", "child of"}
)  # fmt: skip
"""Names of columns that refer to another row of the same table."""
STAFF_ROLES = frozenset(
    {"manager", "supervisor", "boss", "mentor", "leader", "rep", "agent", "assignee", "reviewer", "approver",
     "reports to", "report to", "approved by", "assigned to", "handled by"}
)  # fmt: skip
STAFF_TABLES = ("employee", "staff", "worker", "agent", "person", "people", "user", "member")
"""Tables that a staff role may refer to, the likeliest first."""
USER_ROLES = frozenset(
    {"owner", "author", "creator", "sender", "receiver", "recipient", "buyer", "seller", "reporter", "follower",
     "followee", "friend", "referrer", "referred by", "created by", "updated by", "invited by"}
)  # fmt: skip
USER_TABLES = ("user", "member", "account", "person", "people", "profile", "customer", "player", "employee", "staff")
"""Tables that a user's role may refer to, the likeliest first."""
_TABLE_PREFIXES = frozenset({"tbl", "tb", "t", "dim", "fact", "stg", "raw", "src", "vw", "v", "public", "main", "dbo"})
# Words that end like a key and are none: 'orderid' is order + id, 'paid' is not.
_NO_KEYS = frozenset(
    {"paid", "unpaid", "prepaid", "valid", "invalid", "avoid", "solid", "liquid", "fluid", "rapid", "hybrid", "android",
     "covid", "humid", "squid", "orchid", "steroid", "asteroid", "centroid", "overlaid", "madrid", "monkey", "turkey",
     "whiskey", "hockey", "jockey", "donkey", "turnkey", "hotkey"}
)  # fmt: skip
_IRREGULAR = {word: word for word in ("alias", "series", "species", "news")} | {
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "indices": "index",
    "vertices": "vertex",
    "matrices": "matrix",
}


def words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case; ``orderId``, ``order_id``, ``Order ID``, ``orderid`` give the same."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", spaced)
    found = [word for word in re.split(r"[\W_]+", spaced.lower()) if word]
    if len(found) == 1 and found[0] not in _NO_KEYS:
        for ending in ("uuid", "guid", "id", "key"):
            head = found[0].removesuffix(ending)
            if head != found[0] and len(head) >= 3:
                return (head, ending)
    return tuple(found)


def root(word: str) -> str:
    """What the singular and the plural of an English word share; not always a word: ``categories`` -> ``categori``."""
    word = _IRREGULAR.get(word, word)
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 and word not in _IRREGULAR:
        word = word[:-1]
    word = word.removesuffix("e") if len(word) > 3 else word
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


def table_roots(table: str) -> tuple[str, ...]:
    """Roots of the words of a table's name, without the prefixes of naming schemes (``dim_customers``)."""
    found = list(words(table))
    while len(found) > 1 and found[0] in _TABLE_PREFIXES:
        found.pop(0)
    return tuple(root(word) for word in found)


def key_words(column: str) -> tuple[str, ...]:
    """The words of a column's name without the ending that marks a key: ``manager_id`` -> ``("manager",)``."""
    found = list(words(column))
    while len(found) > 1 and found[-1] in KEY_WORDS | CODE_WORDS:
        found.pop()
    return tuple(found)


def key_roots(column: str) -> tuple[str, ...]:
    """The roots of :func:`key_words`, to compare with :func:`table_roots`."""
    return tuple(root(word) for word in key_words(column))


def is_id_name(column: str) -> bool:
    """Whether a name ends like a key: ``customer_id``, ``raceId``, ``uuid``."""
    return words(column)[-1:] != () and words(column)[-1] in KEY_WORDS


def is_code_name(column: str) -> bool:
    """Whether a name ends like a code that people use as a key: ``country_code``, ``sku``."""
    return words(column)[-1:] != () and words(column)[-1] in CODE_WORDS


def is_line_name(column: str) -> bool:
    """Whether a name is that of a number within a parent: ``line``, ``line_no``, ``seq``, ``no``; not ``item_id``."""
    found = [word for word in words(column) if word not in CODE_WORDS]
    return (not found and is_code_name(column)) or (bool(found) and found[-1] in LINE_WORDS)


def is_plain_key(column: str) -> bool:
    """Whether a name says only that it is a key, not of what: ``id``, ``uuid``, ``code``."""
    return all(word in KEY_WORDS | CODE_WORDS for word in words(column))


def role_score(column: str, table: str) -> float:
    """How well a role (``SupportRepId``) fits a table of persons (``Employee``), up to 0.6; 0: it is no such role."""
    phrase = " ".join(key_words(column))
    last = table_roots(table)[-1:]
    for roles, tables in ((STAFF_ROLES, STAFF_TABLES), (USER_ROLES, USER_TABLES)):
        known = [root(word) for word in tables]
        if {phrase, phrase.rsplit(" ", 1)[-1]} & roles and last and last[0] in known:
            return 0.6 - 0.01 * known.index(last[0])
    return 0.0


def ends_with(long: tuple[str, ...], short: tuple[str, ...]) -> bool:
    """Whether ``long`` ends with the words of ``short``."""
    return bool(short) and long[-len(short) :] == short
