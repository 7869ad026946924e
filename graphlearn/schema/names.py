"""What names of tables and columns say: words, singulars, and the endings that mark keys."""

from __future__ import annotations

import re

KEY_WORDS = frozenset({"id", "ids", "key", "pk", "sk", "fk", "uuid", "guid", "oid", "rowid"})
CODE_WORDS = frozenset({"code", "ref", "slug", "sku", "nr", "no", "isbn", "iso", "ean", "upc", "symbol"})


def words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: ``orderId``, ``order_id``, ``Order ID`` and ``ORDER-ID`` are the same.

    ``customerid`` has no visible border, so a final ``id`` is split off where what is left is no rest of a word.
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", spaced)
    found = [word for word in re.split(r"[\W_]+", spaced.lower()) if word]
    if len(found) == 1:
        word = found[0]
        for ending in ("uuid", "guid", "id", "key"):
            if word.endswith(ending) and len(word) >= len(ending) + 3 and word not in _NO_IDS:
                return (word[: -len(ending)], ending)
    return tuple(found)


_NO_IDS = frozenset(
    {
        "paid",
        "unpaid",
        "prepaid",
        "valid",
        "invalid",
        "void",
        "avoid",
        "bid",
        "solid",
        "liquid",
        "fluid",
        "rapid",
        "grid",
        "hybrid",
        "android",
        "period",
        "covid",
        "humid",
        "squid",
        "druid",
        "orchid",
        "steroid",
        "asteroid",
        "monkey",
        "turkey",
        "whiskey",
        "hockey",
        "jockey",
        "donkey",
        "turnkey",
        "passkey",
        "hotkey",
    }
)


def singular(word: str) -> str:
    """The singular of an English plural, by its ending."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def stem(name: str) -> tuple[str, ...]:
    """The words of a name without the ending that marks a key, in the singular: ``OrderIDs`` -> ``("order",)``."""
    found = list(words(name))
    while len(found) > 1 and found[-1] in KEY_WORDS | CODE_WORDS:
        found.pop()
    return tuple(singular(word) for word in found)


def is_id_name(name: str) -> bool:
    """Whether a name ends like a key: ``customer_id``, ``raceId``, ``uuid``."""
    found = words(name)
    return bool(found) and found[-1] in KEY_WORDS
