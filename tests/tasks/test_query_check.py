"""What a query may ask of a schema: names, paths, types, windows; and what it is told otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
from query_examples import EACH
from query_shop import make_tables, open_shop

from graphlearn.errors import QueryError
from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import TaskType
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_sql import Anchors, label_sql
from graphlearn.tasks.times import time_us


@pytest.fixture(scope="module")
def shop() -> Iterator[Database]:
    db = open_shop(make_tables(orders=40))
    yield db
    db.close()


AGG = "COUNT(orders.*, 0, 30)"
REVIEWS = "FOR EACH reviews.review_id"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"PREDICT COUNT(order.*, 0, 30) {EACH}", r"column 15: no table 'order'. Did you mean 'orders'\?"),
        (f"PREDICT SUM(orders.totl, 0, 30) {EACH}", r"column 20: no column of table 'orders' 'totl'. Did you mean 't"),
        (f"PREDICT {AGG} {EACH} WHERE custmers.age > 1", r"no table 'custmers'. Did you mean 'customers'\?"),
        (f"PREDICT {AGG} FOR customers.customer_id = 'x'", r"customers.customer_id is a number, and 'x' is none"),
        (f"PREDICT SUM(orders.*, 0, 30) {EACH}", r"SUM needs a column: orders.\* stands for whole rows"),
        (f"PREDICT AVG(orders.customer_id, 0, 30) {EACH}", r"orders.customer_id is a foreign key, of which AVG says"),
        (f"PREDICT FIRST(orders.order_id, 0, 30) {EACH}", r"orders.order_id is a primary key, of which FIRST says no"),
        (f"PREDICT LIST_DISTINCT(orders.customer_id, 0, 30) CLASSIFY {EACH}", r"names 'customers' itself"),
        (f"PREDICT MIN(orders.status, 0, 30) {EACH}", r"MIN needs a number or a time, but orders.status is a text"),
        (f"PREDICT COUNT(orders.*) {EACH}", r"COUNT needs a window, as in COUNT\(orders.\*, 0, 30, days\)"),
        (f"PREDICT COUNT(orders.*, 0, 1.5, months) {EACH}", r"1.5 months are no whole number of months"),
        (f"PREDICT COUNT(orders.*, 0, 1500, years) {EACH}", r"1500 years are longer than a thousand years"),
        (f"PREDICT COUNT(orders.*, 5, 5) {EACH}", r"the window begins at 5 and ends at 5: it is empty"),
        (f"PREDICT COUNT(orders.*, -INF, 30) {EACH}", r"the window of a target begins before the anchor"),
        (f"PREDICT COUNT(orders.*, -60, -30) {EACH}", r"ends at or before the anchor, so there is nothing to predict"),
        (f"PREDICT {AGG} {EACH} WHERE COUNT(orders.*, -1, 1) > 0", r"WHERE looks past the anchor"),
        (f"PREDICT {AGG} {EACH} ASSUMING COUNT(orders.*, -1, 0) > 0", r"ASSUMING looks back, where things are known"),
        (f"PREDICT {AGG} {EACH} ASSUMING customers.age > 3", r"ASSUMING supposes what happens after the anchor"),
        (f"PREDICT customers.age {EACH} ASSUMING {AGG} > 0", r"ASSUMING supposes what happens after the anchor"),
        (f"PREDICT {AGG} > 0 AND customers.age > 3 {EACH}", r"customers.age has one value, whatever happens after"),
        (f"PREDICT orders.total {EACH}", r"orders.total has one value, whatever happens after"),
        (f"PREDICT customers.signup_at {EACH}", r"customers.signup_at is a key or a time, which cannot be predicted"),
        (f"PREDICT customers.customer_id = 3 {EACH}", r"customers.customer_id is a key or a time"),
        (f"PREDICT {AGG} {EACH} WHERE orders.total > 3", r"no foreign key of 'customers' leads to 'orders'"),
        (f"PREDICT COUNT(orders.* WHERE customers.age > 3, 0, 30) {EACH}", r"customers.age is no column of the rows"),
        (f"PREDICT COUNT(orders.* WHERE {AGG} > 3, 0, 30) {EACH}", r"an aggregation cannot stand inside another one"),
        ("PREDICT COUNT(visits.*, 0, 30) FOR EACH products.product_id", r"no foreign key leads from 'visits' to 'prod"),
        (f"PREDICT {AGG} {EACH} VIA orders.total -> customers", r"orders.total is no foreign key to 'customers'. For"),
        (f"PREDICT {AGG} {EACH} VIA visits.customer_id -> customers", r"is on no path of this query. Leave it out"),
        (f"PREDICT {AGG} AND {AGG} > 3 {EACH}", r"COUNT\(orders.\*, 0, 30, days\) is a number, not true or false"),
        (f"PREDICT {AGG} LIKE 'x' {EACH}", r"LIKE needs a text, but COUNT\(orders.\*, 0, 30, days\) is a number"),
        (f"PREDICT LIST_DISTINCT(orders.channel, 0, 3) = 'a' {EACH}", r"is a list, which cannot be compared"),
        (f"PREDICT {AGG} = 'x' {EACH}", r"is a number, and 'x' is none. Compare it with a number"),
        (f"PREDICT MAX(orders.placed_at, 0, 30) > 'soon' {EACH}", r"is a time, but 'soon' is none. Write it as"),
        (f"PREDICT MAX(orders.placed_at, 0, 30) > 3 {EACH}", r"is a time, and 3 is none. Compare it with a time such"),
        (f"PREDICT MAX(orders.placed_at, 0, 30) {EACH}", r"is a time, which cannot be predicted. Compare it"),
        (f"PREDICT {AGG} > 0 CLASSIFY {EACH}", r"a condition is true or false: leave CLASSIFY out"),
        (f"PREDICT {AGG} CLASSIFY {EACH}", r"CLASSIFY is for LIST_DISTINCT, FIRST, LAST and columns"),
        (f"PREDICT {AGG} RANK TOP 3 {EACH}", r"RANK is for LIST_DISTINCT of a foreign key, not for COUNT"),
        (f"PREDICT FIRST(orders.channel, 0, 9) FORECAST 3 TIMEFRAMES {EACH}", r"FORECAST is for aggregations that are"),
        (f"PREDICT customers.age FORECAST 3 TIMEFRAMES {EACH}", r"FORECAST is for aggregations that are numbers"),
        (f"PREDICT {AGG} FORECAST 101 TIMEFRAMES {EACH}", r"FORECAST gives at most 100 steps"),
        (
            f"PREDICT LIST_DISTINCT(orders.channel, 0, 3) RANK TOP 3 {EACH}",
            r"RANK orders the rows that a foreign key n",
        ),
        (f"PREDICT LIST_DISTINCT(reviews.product_id, 0, 3) {EACH}", r"say RANK TOP k or CLASSIFY before FOR"),
        (
            f"PREDICT LIST_DISTINCT(reviews.product_id, 0, 3) RANK TOP 9 {EACH}",
            r"RANK TOP 9 of 'products', which has 8",
        ),
        (f"PREDICT LIST_DISTINCT(reviews.product_id, 0, 3) RANK TOP 1001 {EACH}", r"at most the 1,000 best"),
        (f"PREDICT customers.age {EACH} AS OF '2024-01-01'", r"asked about at each row's own time: leave AS OF out"),
        (f"PREDICT {AGG} {EACH} AS OF ENTITY", r"AS OF ENTITY is for columns of the entity"),
        (f"PREDICT {AGG} {EACH} AS OF 'soon'", r"'AS OF' must be a time such as 2024-01-31"),
        (f"PREDICT customers.age {EACH} EVERY 3 days", r"EVERY is for anchors, which a static target has none of"),
        (f"PREDICT {AGG} {EACH} EVERY 0 days", r"the step between anchors must be longer than zero"),
        (f"PREDICT {AGG} {EACH} EVERY 0.5 months", r"0.5 months are no whole number of months"),
        (
            "PREDICT reviews.rating > 3 AND reviews.customer_id = 3 " + REVIEWS,
            r"reviews.customer_id is a key or a time",
        ),
    ],
)
def test_what_is_refused(shop: Database, text: str, message: str):
    with pytest.raises(QueryError, match=message) as found:
        check_query(shop, text)
    assert "^" in str(found.value)


@pytest.mark.parametrize(
    ("text", "task_type"),
    [
        (f"PREDICT {AGG} {EACH}", TaskType.REGRESSION),
        (f"PREDICT FIRST(orders.total, 0, 3) {EACH}", TaskType.REGRESSION),
        (f"PREDICT FIRST(reviews.rating, 0, 3) CLASSIFY {EACH}", TaskType.MULTICLASS),
        (f"PREDICT LAST(orders.status, 0, 3) {EACH}", TaskType.MULTICLASS),
        (f"PREDICT MAX(orders.placed_at, 0, 30) > '2024-01-01' {EACH}", TaskType.BINARY),
        (f"PREDICT customers.plan {EACH}", TaskType.MULTICLASS),
        (f"PREDICT LIST_DISTINCT(reviews.product_id, 0, 3) CLASSIFY {EACH}", TaskType.MULTILABEL),
        (f"PREDICT LIST_DISTINCT(reviews.product_id, 0, 3) RANK TOP 8 {EACH}", TaskType.RECOMMENDATION),
        (
            f"PREDICT LIST_DISTINCT(products.category, 0, 90) CLASSIFY {EACH} VIA reviews.product_id -> products",
            "multi",
        ),
        (f"PREDICT SUM(orders.total, 0, 7) FORECAST 3 TIMEFRAMES {EACH}", TaskType.MULTISTEP),
        (f"PREDICT {AGG} IS NULL {EACH}", TaskType.BINARY),
    ],
)
def test_the_task_type(shop: Database, text: str, task_type: str):
    assert str(check_query(shop, text).task_type).startswith(task_type)


def graph(*tables: Table) -> Database:
    """A database of keys only; each table has an id and a time."""
    frames = {}
    for table in tables:
        columns: dict[str, object] = {column.name: [1, 2] for column in table.columns}
        frames[table.name] = pd.DataFrame(columns | {"at": pd.to_datetime(["2024-01-01", "2024-01-02"])})
    made = {
        table.name: Table(table.name, table.pkey, table.fkeys, table.time_col, columns=(*table.columns, Column("at")))
        for table in tables
    }
    return connect(frames, schema=Schema("keys", made))


def table(name: str, time_col: str | None = "at", **keys: str) -> Table:
    fkeys = tuple(ForeignKey((column,), target) for column, target in keys.items())
    return Table(name, ("id",), fkeys, time_col, columns=(Column("id"), *(Column(c) for c in keys)))


def test_two_keys_need_via():
    db = graph(table("person"), table("message", sender="person", receiver="person"))
    ask = "PREDICT COUNT(message.*, 0, 30) FOR EACH person.id"
    with pytest.raises(QueryError, match=r"in 2 ways of the same length: message.sender -> person; message.receiver"):
        check_query(db, ask)
    chosen = check_query(db, f"{ask} VIA message.receiver -> person")
    assert [str(rows.path) for rows in chosen.rows.values()] == ["message.receiver -> person"]


def test_a_longer_chain_needs_via_and_two_named_ways_contradict():
    db = graph(
        table("person"),
        table("shop", owner="person"),
        table("sale", shop="shop", buyer="person", agent="person"),
        table("item", sale="sale", other="sale"),
    )
    ask = "PREDICT COUNT(sale.*, 0, 30) FOR EACH person.id"
    chosen = check_query(db, f"{ask} VIA shop.owner -> person")
    assert [str(rows.path) for rows in chosen.rows.values()] == ["sale.shop -> shop, shop.owner -> person"]
    with pytest.raises(QueryError, match=r"in 2 ways of the same length"):
        check_query(db, f"{ask} VIA sale.buyer -> person, sale.agent -> person")
    with pytest.raises(QueryError, match=r"2 foreign keys of 'sale' lead to 'person', so person.at is not one value"):
        check_query(
            db,
            "PREDICT COUNT(item.*, 0, 3) FOR EACH sale.id WHERE person.at > '2020-01-01' VIA item.sale -> sale",
        )


def test_via_may_leave_no_way():
    db = graph(
        table("person"),
        table("home", owner="person"),
        table("desk", user="person"),
        table("note", home="home", desk="desk"),
        table("other", home="home", old="home"),
    )
    ask = "PREDICT COUNT(note.*, 0, 3) FOR EACH person.id VIA"
    assert [str(r.path) for r in check_query(db, f"{ask} note.desk -> desk").rows.values()] == [
        "note.desk -> desk, desk.user -> person"
    ]
    with pytest.raises(QueryError, match=r"VIA other.old -> home is on no path of this query"):
        check_query(db, f"{ask} other.old -> home, note.desk -> desk")


def test_a_table_that_names_itself():
    db = graph(table("person", boss="person"))
    checked = check_query(db, "PREDICT COUNT(person.*, 0, 30) FOR EACH person.id")
    assert [str(rows.path) for rows in checked.rows.values()] == ["person.boss -> person"]
    at = time_us("2024-01-01", "at")
    assert db.arrow(label_sql(db, checked, Anchors(pd.Series([at]).to_numpy())))["label"].to_pylist() == [0.0]


def test_the_time_is_the_nearest_on_the_chain():
    db = graph(table("person"), table("sale", buyer="person"), table("item", None, sale="sale"))
    checked = check_query(db, "PREDICT COUNT(item.*, 0, 30) FOR EACH person.id")
    assert [rows.time for rows in checked.rows.values()] == [("sale", "at")]
    assert "'item' has no time of its own: its rows count at the time of 'sale.at'." in checked.notes
    db = graph(table("person"), table("sale", None, buyer="person"))
    with pytest.raises(QueryError, match=r"no table between 'sale' and 'person' has a time"):
        check_query(db, "PREDICT COUNT(sale.*, 0, 30) FOR EACH person.id")
    with pytest.raises(QueryError, match=r"AS OF ENTITY needs a time of each row, but 'sale' has none"):
        check_query(db, "PREDICT sale.id = 1 FOR EACH sale.id AS OF ENTITY".replace("sale.id = 1", 'sale."at" IS NULL'))


def test_an_entity_needs_a_key_of_one_column():
    people = pd.DataFrame({"a": [1, 2], "b": [1, 2]})
    for pkey, says in ((("a", "b"), "a primary key of 2 columns"), ((), "no primary key")):
        made = Table("people", pkey, columns=(Column("a"), Column("b")))
        with pytest.raises(QueryError, match=rf"'people' has {says}; predictions need one of one column"):
            check_query(
                connect({"people": people}, schema=Schema("s", {"people": made})), "PREDICT people.b FOR EACH people.a"
            )


def test_more_than_a_thousand_classes():
    frames = make_tables(customers=1_100, orders=1_100)
    frames["customers"]["country"] = [f"country {i}" for i in range(1_100)]
    db = open_shop(frames)
    with pytest.raises(QueryError, match=r"customers.country has more than 1,000 values, which are too many classes"):
        check_query(db, f"PREDICT customers.country {EACH}")


def test_what_is_noted(shop: Database):
    def notes(text: str) -> str:
        return " ".join(check_query(shop, text).notes)

    assert "There is no condition on the past after WHERE" in notes(f"PREDICT {AGG} {EACH}")
    assert "There is no condition" not in notes(f"PREDICT {AGG} {EACH} WHERE {AGG.replace('0, 30', '-30, 0')} > 0")
    assert "AVG has no value where there are no rows" in notes(f"PREDICT AVG(orders.total, 0, 9) {EACH}")
    assert "association, not the effect" in notes(f"PREDICT {AGG} {EACH} ASSUMING EXISTS(coupons.*, 0, 7)")
    assert check_query(shop, f"PREDICT customers.age > 3 AND customers.plan = 'pro' {EACH}").hidden == (
        ("customers", "age"),
        ("customers", "plan"),
    )
