"""The language itself: trees, their text, and errors that show where."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_examples import REFUSED, VALID
from random_queries import queries

from graphlearn.errors import QueryError
from graphlearn.tasks.query import is_query, parse
from graphlearn.tasks.query_tokens import AGGREGATIONS, CLAUSES
from graphlearn.tasks.query_tree import (
    Aggregation,
    And,
    Column,
    Compare,
    Key,
    Literal,
    Not,
    Or,
    Output,
    Query,
    Window,
)

ORDERS = Column("orders", "*", True)
COUNT = Aggregation("COUNT", ORDERS, None, Window(0.0, 30.0))


def test_a_tree_by_hand():
    text = """
        predict Sum(orders.total WHERE orders.status == 'it''s' or not orders.total <> -2.5, 0, 2, weeks) > 1
        FORECAST 3 timeframes FOR customers.id IN (1, 2)
        where exists(orders.*, -inf, 0) AS OF '2024-01-31' VIA orders.payer -> customers every 1 month;
    """
    status = Compare(Column("orders", "status"), "=", Literal("it's"))
    total = Not(Compare(Column("orders", "total"), "!=", Literal(-2.5)))
    spent = Aggregation("SUM", Column("orders", "total"), Or((status, total)), Window(0.0, 2.0, "WEEKS"))
    assert parse(text) == Query(
        Compare(spent, ">", Literal(1)),
        Column("customers", "id"),
        (Literal(1), Literal(2)),
        Output("FORECAST", 3),
        Aggregation("EXISTS", ORDERS, None, Window(None, 0.0)),
        as_of=Literal("2024-01-31"),
        every=(1.0, "MONTHS"),
        via=(Key(Column("orders", "payer"), "customers"),),
    )


@pytest.mark.parametrize("text", [*VALID.values(), *(text for text, _ in REFUSED.values())])
def test_the_text_of_a_tree_is_a_query_of_this_tree(text: str):
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "clause",
    [
        "x.y NOT IN (1, 'a', TRUE, 2024-01-31)", "x.y BETWEEN 1 AND 2", "x.y NOT LIKE '%a'", "x.y STARTS WITH 'a'",
        "x.y NOT ENDS WITH 'a'", "x.y IS NOT NULL", "x.y CONTAINS ''", "x.y > 1500.25",
        "x.y = 2024-01-31T10:30:00.500000",
        "NOT (x.y AND x.z)", "(x.a OR x.b) AND NOT x.c", "x.y = FALSE", "EXISTS(x.* WHERE x.y IS NULL, 0, 30, hours)",
        "LIST_DISTINCT(x.y, 0, 1) CONTAINS 'a'", "x.y > -3",
    ],
)  # fmt: skip
def test_every_test_keeps_its_form(clause: str):
    query = parse(f"PREDICT {clause} FOR EACH x.id")
    assert parse(str(query)) == query
    assert str(query).casefold().replace(", days", "") == f"predict {clause} for each x.id".casefold()


@pytest.mark.parametrize("word", [*CLAUSES, *AGGREGATIONS, "days", "Month", "infinity"])
def test_a_keyword_is_a_name_where_only_a_name_can_stand(word: str):
    column = Column(word, word)
    query = parse(f'PREDICT {word}.{word} FOR EACH "{word}"."{word}" VIA {word}.{word} -> {word}')
    assert query == Query(column, column, via=(Key(column, word),))
    assert parse(str(query)) == query


@given(st.text(min_size=1).filter(lambda text: "\0" not in text), st.text().filter(lambda text: "\0" not in text))
def test_any_name_and_text_can_be_quoted(name: str, text: str):
    query = Query(Compare(Column(name, name), "=", Literal(text)), Column(name, "id"))
    assert parse(str(query)) == query


def test_dates_and_parts_of_a_condition():
    query = parse("PREDICT a.b AND (a.c AND a.d) FOR a.id = 2024-02-29 AS OF NOW ASSUMING EXISTS(b.*, 0, 1)")
    assert query.target == And((Column("a", "b"), Column("a", "c"), Column("a", "d")))
    assert query.keys == (Literal(dt.date(2024, 2, 29)),)
    assert query.as_of == "NOW"


@given(queries())
def test_random_trees_come_back(query: Query):
    assert parse(str(query)) == query


WORDS = [*CLAUSES, *AGGREGATIONS, "a.b", "a.*", "(", ")", ",", "30", "-", "'x'", '"y"', "->", "=", ".", "days", "é"]


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join) | st.lists(st.sampled_from(WORDS)).map("".join))
def test_any_text_gives_a_tree_or_our_error(text: str):
    for asked in (text, f"PREDICT {text}", f"PREDICT a.b FOR EACH a.b {text}"):
        found = tree_or_error(asked)
        if isinstance(found, Query):
            assert parse(str(found)) == found
        else:
            assert min(found.line, found.column) >= 1
            assert set(str(found).split("\n")[2]) <= {" ", "^"}


def tree_or_error(text: str) -> Query | QueryError:
    try:
        return parse(text)
    except QueryError as error:
        return error


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20_000, "PREDICT " + "NOT (" * 20_000, "PREDICT " + "a.b AND " * 10_000,
        "PREDICT a.b = '" + "''" * 30_000,
        "PREDICT a.b IN (" + "1," * 30_000, "PREDICT " + "COUNT(a.* WHERE " * 5_000, "x" * 200_000, "9" * 90_000,
        "PREDICT a.b = " + "9" * 90_000 + " FOR EACH a.b",
    ],
    ids=lambda text: text[:16],
)  # fmt: skip
def test_long_and_deep_texts_take_bounded_time(text: str):
    start = time.perf_counter()
    with pytest.raises(QueryError):
        parse(text)
    assert time.perf_counter() - start < 20


def test_a_long_condition_is_no_deep_one():
    text = "PREDICT " + " OR ".join(["a.b"] * 5_000) + " FOR EACH a.b"
    assert str(parse(text)) == text
    nested = "PREDICT " + "(NOT " * 50 + "a.b" + ")" * 50 + " FOR EACH a.b"
    assert parse(str(parse(nested))) == parse(nested)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("PREDICT CONUT(a.*, 0, 30) FOR EACH c.id", 1, 9, r"no aggregation 'CONUT'. Did you mean 'COUNT'\? Known: "),
        ("PREDICT churn FOR EACH c.id", 1, 9, r"'churn' is no column. Write columns as table.column"),
        ("PREDICT COUNT(a.*, 0, 30)\nFOR EACHH c.id", 2, 5, r"'EACHH' is no column. Did you mean 'EACH'\?"),
        ("PREDICT COUNT(a.*, 0, 30", 1, 25, r"the query ends here. Expected: ',', '\)'."),
        ("PREDICT a.b FOR EACH a.b WERE a.c", 1, 26, r"'WERE' cannot stand here. Did you mean 'WHERE'\?"),
        ("PREDICT a.b = 'x FOR EACH a.b", 1, 15, r"the string that begins here has no closing '"),
        ('PREDICT a."b FOR EACH a.b', 1, 11, r'the name that begins here has no closing "'),
        ('PREDICT a."" FOR EACH a.b', 1, 11, r"a name needs at least one character between the quotes"),
        ("PREDICT a.b ! FOR EACH a.b", 1, 13, r"'!' alone means nothing. Write NOT"),
        ("PREDICT a.b # FOR EACH a.b", 1, 13, r"the character '#' means nothing here"),
        ("PREDICT a.b = 'x\0' FOR EACH a.b", 1, 15, r"the character '\\x00' cannot be part of SQL"),
        ("PREDICT a.b = NULL FOR EACH a.b", 1, 15, r"nothing is equal to NULL. Write IS NULL"),
        ("PREDICT a.b IN (1, NULL) FOR EACH a.b", 1, 20, r"a list cannot hold NULL"),
        ("PREDICT a.b BETWEEN NULL AND 1 FOR EACH a.b", 1, 21, r"nothing lies next to NULL"),
        ("PREDICT COUNT(a.*, 0, -INF) FOR EACH a.b", 1, 23, r"a window ends at a finite time"),
        ("PREDICT a.b = 2024-02-30 FOR EACH a.b", 1, 15, r"2024-02-30 is no date: "),
        ("PREDICT a.b = 1e999 FOR EACH a.b", 1, 15, r"1e999 is larger than any number"),
        ("PREDICT a.b RANK TOP 0 FOR EACH a.b", 1, 22, r"0 must be a whole number from 1 to 10,000"),
        ("PREDICT a.b RANK TOP 2.5 FOR EACH a.b", 1, 22, r"2.5 must be a whole number from 1 to 10,000"),
        ("PREDICT a.b FOR EACH a.b EVERY 1 day EVERY 2 days", 1, 44, r"there is a second EVERY clause. Keep one"),
        ("PREDICT " + "(" * 51, 1, 59, r"more than 50 parentheses within each other"),
        (" " * 100_001, 1, 1, r"the query has 100,001 characters; at most 100,000 are read"),
        ("SELECT 1; DROP TABLE a", 1, 1, r"'SELECT' cannot stand here. Expected: PREDICT"),
    ],
)
def test_an_error_says_where_and_what_to_do(text: str, line: int, column: int, message: str):
    with pytest.raises(QueryError, match=message) as found:
        parse(text)
    assert (found.value.line, found.value.column) == (line, column)


def test_the_caret_stands_under_the_fault():
    with pytest.raises(QueryError) as found:
        parse("PREDICT a.b\nFOR EACH a.b WERE a.c")
    assert str(found.value).split("\n")[1:] == ["  FOR EACH a.b WERE a.c", "               ^^^^"]
    with pytest.raises(QueryError) as found:
        parse("PREDICT " + "a.b AND " * 100 + "# FOR EACH a.b")
    shown, caret = str(found.value).split("\n")[1:]
    assert shown[caret.index("^")] == "#"


def test_what_is_a_query_and_what_is_a_name():
    assert is_query(" predict COUNT(a.*, 0, 1) FOR EACH b.c")
    assert is_query("PREDICT\n x")
    assert not is_query("predict-churn")
    assert not is_query("driver-top3")
    assert not is_query("")
    assert not is_query(None)
