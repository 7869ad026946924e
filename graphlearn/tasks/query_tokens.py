"""The words of a predictive query. A word is a keyword unless it stands where only a name can."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lark.lexer import Lexer, Token

from graphlearn.errors import QueryError

MAX_LENGTH = 100_000
"""Characters of a query."""
MAX_DEPTH = 50
"""Parentheses within each other."""

UNITS = {
    word: f"{unit}S"
    for unit in ("SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "YEAR")
    for word in (unit, f"{unit}S")
}
AGGREGATIONS = ("COUNT", "SUM", "AVG", "MIN", "MAX", "COUNT_DISTINCT", "LIST_DISTINCT", "FIRST", "LAST")
CLAUSES = (
    "PREDICT", "CLASSIFY", "RANK", "TOP", "FORECAST", "TIMEFRAMES", "FOR", "EACH", "IN", "WHERE", "ASSUMING", "AS",
    "OF", "NOW", "LATEST", "ENTITY", "EVERY", "VIA", "OR", "AND", "NOT", "IS", "NULL", "LIKE", "CONTAINS", "STARTS",
    "ENDS", "WITH", "BETWEEN", "EXISTS", "TRUE", "FALSE", "INF",
)  # fmt: skip
KEYWORDS = {word: word for word in (*CLAUSES, *AGGREGATIONS)} | UNITS | {"INFINITY": "INF"}
_SIGNS = {
    "(": "LPAR", ")": "RPAR", ",": "COMMA", ".": "DOT", "*": "STAR", ";": "_SEMICOLON", "->": "_ARROW", "-": "MINUS",
    "=": "EQUAL", "==": "EQUAL",
}  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<date>\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?(?![\w.]))
      | (?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[^\W\d]\w*)
      | (?P<string>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<sign>->|==|!=|<>|<=|>=|[=<>(),.*;-])""",
    re.VERBOSE,
)
_DOT_AHEAD = re.compile(r"\s*\.")


class QueryLexer(Lexer):
    """Splits a query into tokens; strings and names lose their quotes."""

    def __init__(self, conf: object) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        """The tokens of a text."""
        return tokens(str(lexer_state))


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a query.

    Raises:
        QueryError: At what is no token.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the query has {len(text):,} characters; at most {MAX_LENGTH:,} are read.", text, 0, 1)
    position, depth, last = 0, 0, ""
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _no_token(text, position)
        start, position = position, found.end()
        kind, value = str(found.lastgroup), found[0]
        if kind == "space":
            continue
        if kind == "sign":
            kind = _SIGNS.get(value, "OTHER")
            depth += {"LPAR": 1, "RPAR": -1}.get(kind, 0)
            if depth > MAX_DEPTH:
                raise QueryError(
                    f"more than {MAX_DEPTH} parentheses within each other. Leave out those that are not needed.",
                    text,
                    start,
                    position,
                )
        elif kind in ("string", "quoted"):
            value = _unquoted(text, start, position)
            kind = "STRING" if kind == "string" else "NAME"
        elif kind == "word":
            # customers.first, first.name: next to a dot only a name can stand.
            name = last in ("DOT", "_ARROW") or _DOT_AHEAD.match(text, position)
            kind = "NAME" if name else KEYWORDS.get(value.upper(), "NAME")
        else:
            kind = kind.upper()
        last = kind
        yield Token(kind, value, start_pos=start, end_pos=position)


def quoted(name: str) -> str:
    """A name as a query holds it: bare if that reads back as this name next to a dot."""
    found = _TOKEN.fullmatch(name)
    return name if found is not None and found.lastgroup == "word" else '"' + name.replace('"', '""') + '"'


def _unquoted(text: str, start: int, end: int) -> str:
    mark, inside = text[start], text[start + 1 : end - 1]
    value = inside.replace(mark * 2, mark)
    bad = next((c for c in value if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    if bad is not None:
        raise QueryError(f"the character {bad!r} cannot be part of SQL. Leave it out.", text, start, end)
    if mark == '"' and not value:
        raise QueryError("a name needs at least one character between the quotes.", text, start, end)
    return value


def _no_token(text: str, position: int) -> QueryError:
    sign = text[position]
    if sign in "'\"":
        what = "string" if sign == "'" else "name"
        hint = "Double it where it is part of the text." if sign == "'" else "Double it where it is part of the name."
        return QueryError(f"the {what} that begins here has no closing {sign}. {hint}", text, position, position + 1)
    if sign == "!":
        return QueryError("'!' alone means nothing. Write NOT, or != for 'is not equal'.", text, position, position + 1)
    hint = "Names with such characters stand in double quotes, texts in single ones."
    return QueryError(f"the character {sign!r} means nothing here. {hint}", text, position, position + 1)
