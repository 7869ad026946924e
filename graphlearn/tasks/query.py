"""The predictive query language: text -> syntax tree."""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedToken

from graphlearn.errors import QueryError
from graphlearn.tasks.query_tokens import AGGREGATIONS, CLAUSES, KEYWORDS, QueryLexer, tokens
from graphlearn.tasks.query_tree import (
    Aggregation,
    Among,
    And,
    Between,
    Column,
    Compare,
    Condition,
    IsNull,
    Key,
    Literal,
    Matches,
    Not,
    Or,
    Output,
    Query,
    Span,
    Window,
)


def parse(text: str) -> Query:
    """The syntax tree of a predictive query; nothing has been checked against a database.

    Raises:
        QueryError: If it is no query; the message shows where.
    """
    try:
        query: Query = _grammar().parse(text)  # type: ignore[assignment]  # the embedded builder returns our trees
    except UnexpectedToken as error:
        raise _unexpected(text, error) from error
    except _Fault as fault:
        raise QueryError(str(fault), text, *fault.at) from None
    return replace(query, text=text)


def is_query(text: object) -> bool:
    """Whether a text is meant as a query rather than as the name of a task."""
    return isinstance(text, str) and [word.upper() for word in text.split(maxsplit=1)[:1]] == ["PREDICT"]


@functools.cache
def _grammar() -> Lark:
    grammar = Path(__file__).with_suffix(".lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer=QueryLexer, transformer=_Builder())


class _Fault(Exception):
    """What the grammar allows and the language does not."""

    def __init__(self, message: str, at: Span) -> None:
        super().__init__(message)
        self.at = at


def _at(*tokens: Token) -> Span:
    return (int(tokens[0].start_pos or 0), int(tokens[-1].end_pos or 0))


class _Builder(Transformer[Token, Any]):
    """From the rules of the grammar to the tree, while it is parsed, so that nothing recurses."""

    def start(self, parts: list[Any]) -> Query:
        target, *rest = parts
        clauses: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        for name, value, at in rest:
            if name in clauses:
                raise _Fault(f"there is a second {name.upper().replace('_', ' ')} clause. Keep one.", at)
            clauses[name], spans[name] = value, at
        column, keys = clauses.pop("entity")
        return Query(target, column, keys, spans=tuple(spans.items()), **clauses)

    def classify(self, parts: list[Token]) -> tuple[str, Output, Span]:
        return "output", Output("CLASSIFY"), (0, 0)

    def rank(self, parts: list[Token]) -> tuple[str, Output, Span]:
        return "output", Output("RANK", _whole(parts[0]), _at(parts[0])), _at(parts[0])

    def forecast(self, parts: list[Token]) -> tuple[str, Output, Span]:
        return "output", Output("FORECAST", _whole(parts[0]), _at(parts[0])), _at(parts[0])

    def every_entity(self, parts: list[Any]) -> tuple[str, Any, Span]:
        return "entity", (parts[0], ()), parts[0].at

    def one_entity(self, parts: list[Any]) -> tuple[str, Any, Span]:
        column, _, literal = parts
        return "entity", (column, (literal,)), column.at

    def these_entities(self, parts: list[Any]) -> tuple[str, Any, Span]:
        return "entity", (parts[0], parts[1]), parts[0].at

    def where(self, parts: list[Any]) -> tuple[str, Condition, Span]:
        return "where", parts[0], (0, 0)

    def assuming(self, parts: list[Any]) -> tuple[str, Condition, Span]:
        return "assuming", parts[0], span_of(parts[0])

    def as_of_time(self, parts: list[Token]) -> tuple[str, Literal, Span]:
        (token,) = parts
        value = self.date(parts) if token.type == "DATE" else Literal(str(token), _at(token))
        return "as_of", value, _at(token)

    def as_of_word(self, parts: list[Token]) -> tuple[str, str, Span]:
        return "as_of", parts[0].type, _at(parts[0])

    def every(self, parts: list[Any]) -> tuple[str, Any, Span]:
        return "every", (_number(parts[0]), parts[1]), _at(parts[0])

    def via(self, parts: list[Key]) -> tuple[str, tuple[Key, ...], Span]:
        return "via", tuple(parts), parts[0].at

    def path(self, parts: list[Any]) -> Key:
        column, table = parts
        return Key(column, str(table), (column.at[0], _at(table)[1]))

    def or_(self, parts: list[Condition]) -> Condition:
        flat = tuple(inner for p in parts for inner in (p.parts if isinstance(p, Or) else (p,)))
        return Or(flat) if len(flat) > 1 else flat[0]

    def and_(self, parts: list[Condition]) -> Condition:
        flat = tuple(inner for p in parts for inner in (p.parts if isinstance(p, And) else (p,)))
        return And(flat) if len(flat) > 1 else flat[0]

    def not_(self, parts: list[Condition]) -> Not:
        return Not(parts[0])

    def group(self, parts: list[Condition]) -> Condition:
        return parts[0]

    def compare(self, parts: list[Any]) -> Any:
        if len(parts) == 1:  # the rule of the operator, not that of the comparison
            return {"==": "=", "<>": "!="}.get(str(parts[0]), str(parts[0]))
        value, operator, literal = parts
        if literal.value is None:
            raise _Fault("nothing is equal to NULL. Write IS NULL or IS NOT NULL.", literal.at)
        return Compare(value, operator, literal)

    def among(self, parts: list[Any]) -> Among:
        return Among(parts[0], parts[1])

    def not_among(self, parts: list[Any]) -> Among:
        return Among(parts[0], parts[1], True)

    def is_null(self, parts: list[Any]) -> IsNull:
        return IsNull(parts[0])

    def is_not_null(self, parts: list[Any]) -> IsNull:
        return IsNull(parts[0], True)

    def matches(self, parts: list[Any]) -> Matches:
        return Matches(parts[0], parts[1], Literal(str(parts[2]), _at(parts[2])))

    def not_matches(self, parts: list[Any]) -> Matches:
        return replace(self.matches(parts), negated=True)

    def match(self, parts: list[Token]) -> str:
        word = parts[0].type
        return f"{word} WITH" if word in ("STARTS", "ENDS") else word

    def between(self, parts: list[Any]) -> Between:
        for literal in parts[1:]:
            if literal.value is None:
                raise _Fault("nothing lies next to NULL. Give a value, or write IS NULL.", literal.at)
        return Between(*parts)

    def aggregation(self, parts: list[Any]) -> Aggregation:
        function, column, *rest = parts
        window = next((p for p in rest if isinstance(p, Window)), None)
        where = next((p for p in rest if not isinstance(p, Window)), None)
        end = column.at[1] if window is None else window.at[1]
        return Aggregation(function.type, column, where, window, (_at(function)[0], end))

    def exists(self, parts: list[Any]) -> Aggregation:
        return self.aggregation([Token("EXISTS", "", parts[0].at[0], end_pos=parts[0].at[0]), *parts])

    def function(self, parts: list[Token]) -> Token:
        return parts[0]

    def window(self, parts: list[Any]) -> Window:
        (start, at), (end, upto), *unit = parts
        if end is None:
            raise _Fault("a window ends at a finite time. Put -INF first, as in (-INF, 0).", upto)
        return Window(start, end, unit[0] if unit else "DAYS", (at[0], upto[1]))

    def bound(self, parts: list[Token]) -> tuple[float, Span]:
        number = _number(parts[-1])
        return (-number or 0.0 if len(parts) > 1 else number), _at(*parts)

    def unbounded(self, parts: list[Token]) -> tuple[None, Span]:
        return None, _at(*parts)

    def unit(self, parts: list[Token]) -> str:
        return parts[0].type

    def column(self, parts: list[Token]) -> Column:
        return Column(str(parts[0]), str(parts[1]), at=_at(*parts))

    def star(self, parts: list[Token]) -> Column:
        return Column(str(parts[0]), "*", True, _at(*parts))

    def literals(self, parts: list[Literal]) -> tuple[Literal, ...]:
        for literal in parts:
            if literal.value is None:
                raise _Fault("a list cannot hold NULL. Leave it out, or add OR … IS NULL.", literal.at)
        return tuple(parts)

    def number(self, parts: list[Token]) -> Literal:
        text = str(parts[-1])
        value = int(text) if text.isdigit() and len(text) <= 18 else _number(parts[-1])
        return Literal(-value if len(parts) > 1 else value, _at(*parts))

    def string(self, parts: list[Token]) -> Literal:
        return Literal(str(parts[0]), _at(parts[0]))

    def date(self, parts: list[Token]) -> Literal:
        text = str(parts[0])
        kind = dt.datetime if "T" in text else dt.date
        try:
            return Literal(kind.fromisoformat(text), _at(parts[0]))
        except ValueError as error:
            raise _Fault(f"{text} is no date: {error}.", _at(parts[0])) from error

    def true(self, parts: list[Token]) -> Literal:
        return Literal(True, _at(parts[0]))

    def false(self, parts: list[Token]) -> Literal:
        return Literal(False, _at(parts[0]))

    def null(self, parts: list[Token]) -> Literal:
        return Literal(None, _at(parts[0]))


def _number(token: Token) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise _Fault(f"{token} is larger than any number that is computed with.", _at(token))
    return value


def _whole(token: Token) -> int:
    if not token.isdigit() or not 1 <= int(token[:19]) <= 10_000:
        raise _Fault(f"{token} must be a whole number from 1 to 10,000.", _at(token))
    return int(token)


def span_of(node: object) -> Span:
    """Where the first value of a condition stands."""
    while not hasattr(node, "at"):
        node = node.parts[0] if isinstance(node, And | Or) else getattr(node, "part", None) or node.value  # type: ignore[attr-defined]
    at: Span = node.at
    return at


_SHOWN = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a text in single quotes", "DATE": "a date", "LPAR": "'('",
    "RPAR": "')'", "COMMA": "','", "DOT": "'.'", "STAR": "'*'", "_ARROW": "'->'", "EQUAL": "'='", "MINUS": "'-'",
    "OTHER": "another comparison", "_SEMICOLON": "';'", "$END": "the end of the query",
}  # fmt: skip


def _unexpected(text: str, error: UnexpectedToken) -> QueryError:
    token = error.token
    start, end = (len(text), len(text) + 1) if token.type == "$END" else _at(token)
    before = list(tokens(text[:start]))[-1:]
    name = before[0] if before and before[0].type == "NAME" and text[_at(before[0])[0]] != '"' else None
    accepted = sorted(error.accepts or error.expected)
    if name is not None and token.type == "LPAR":
        start, end = _at(name)
        known = (*AGGREGATIONS, "EXISTS")
        return QueryError(f"no aggregation '{name}'.{_close(name, known)} Known: {', '.join(known)}.", text, start, end)
    found = "the query ends here" if token.type == "$END" else f"'{text[start:end]}' cannot stand here"
    if accepted == ["DOT"]:
        start, end = _at(before[0])
        close = (
            _close(text[start:end], (*CLAUSES, *AGGREGATIONS))
            or " Write columns as table.column, texts in single quotes."
        )
        return QueryError(
            f"'{text[start:end]}' is no column.{close}",
            text,
            start,
            end,
        )
    hint = ""
    if token.type == "NAME":
        hint = _close(str(token), [word for word, kind in KEYWORDS.items() if kind in accepted])
    words = [_SHOWN.get(kind, kind) for kind in accepted]
    return QueryError(f"{found}.{hint} Expected: {', '.join(words)}.", text, start, end)


def _close(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word.upper(), known, n=1, cutoff=0.7)
    return f" Did you mean '{close[0]}'?" if close else ""
