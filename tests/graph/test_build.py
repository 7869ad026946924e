"""Graphs by hand: numbering, times, edges, hidden columns, and the sentences for keys that do not work."""

from __future__ import annotations

import datetime as dt
import decimal
import random
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch_geometric.data import HeteroData

from graphlearn.errors import SchemaError, UnknownNameError, UsageError
from graphlearn.graph import Statistics, build_graph, fit_statistics, node_index
from graphlearn.schema import Database, Schema, connect
from graphlearn.schema.schema import KNOWN_SINCE, Column, ForeignKey, Table

DAY = 86_400_000_000
START = 18_262 * DAY  # 2020-01-01


def day(n: int | None) -> dt.datetime | None:
    return None if n is None else dt.datetime(2020, 1, 1) + dt.timedelta(days=n)


def table(name: str, pkey: str = "", *fkeys: str, **more: Any) -> Table:
    """`fkeys` as 'column -> table'."""
    keys = tuple(ForeignKey(tuple(c.split(",")), t) for c, t in (key.split(" -> ") for key in fkeys))
    return Table(name, tuple(pkey.split(",")) if pkey else (), keys, **more)


def open_tables(frames: dict[str, dict[str, Any]], *tables: Table) -> Database:
    """The frames with no features but those that a table lists as its columns."""
    arrow = {name: pa.table(columns) for name, columns in frames.items()}
    complete = {}
    for each in tables:
        listed = {c.name: c for c in each.columns}
        columns = tuple(listed.get(name, Column(name)) for name in arrow[each.name].column_names)
        complete[each.name] = Table(**{**each.__dict__, "columns": columns})
    return connect(arrow, schema=Schema("by hand", complete))


def little(**more: Any) -> Database:
    """Three customers and six orders, one of nobody and one of a stranger."""
    return open_tables(
        {
            "customers": {"id": [30, 10, 20], "since": [day(1), day(0), day(1)]},
            "orders": {
                "at": [day(5), day(3), day(4), day(3), day(9), day(3)],
                "id": [1, 6, 3, 4, 5, 2],
                "customer": [10, 10, 20, None, 77, 10],
            },
        },
        table("customers", "id", time_col="since"),
        table("orders", "id", "customer -> customers", time_col="at", **more),
    )


def edges(graph: HeteroData, *edge_type: str) -> tuple[list[int], list[int], list[int]]:
    child, key, parent = edge_type
    forward = graph[child, key, parent]
    return forward["rowptr"].tolist(), forward["col"].tolist(), graph[parent, f"rev_{key}", child]["index"].tolist()


def test_the_graph_by_hand():
    graph = build_graph(little())
    assert graph["customers"].pkey.to_pylist() == [10, 20, 30]
    assert graph["orders"].pkey.to_pylist() == [2, 4, 6, 3, 1, 5]
    assert [(t - START) // DAY for t in graph["orders"].time.tolist()] == [3, 3, 3, 4, 5, 9]
    assert graph["orders"].time.dtype == torch.int64
    assert edges(graph, "orders", "customer", "customers") == ([0, 3, 4, 4], [0, 2, 4, 3], [0, -1, 0, 1, 0, -1])
    assert graph["orders", "customer", "customers"].edge_index.tolist() == [[0, 2, 4, 3], [0, 0, 0, 1]]
    assert graph["customers", "rev_customer", "orders"].edge_index.tolist() == [[0, 0, 1, 0], [0, 2, 3, 4]]
    assert (graph["orders"].num_nodes, graph["orders"].num_undated) == (6, 0)
    assert graph["orders"].tf.num_rows == 6
    assert "fit_until" not in graph
    graph.validate()


def test_what_is_not_asked_for_is_not_there():
    graph = build_graph(little(), edge_index=False, fit_until="2020-02-01")
    assert all("edge_index" not in store for store in graph.edge_stores)
    assert graph.fit_until == START + 31 * DAY


def test_the_source_is_left_as_it_was():
    db = little()
    before = db.rows("SELECT current_setting('preserve_insertion_order')")
    build_graph(db)
    assert db.rows("SELECT current_setting('preserve_insertion_order')") == before
    assert db.rows("SELECT count(*) FROM duckdb_tables() WHERE temporary") == [(0,)]
    assert db.rows("SELECT count(*) FROM duckdb_views() WHERE temporary AND NOT internal") == [(0,)]


def test_progress_reaches_the_number_of_rows():
    seen: list[tuple[str, int, int]] = []
    build_graph(little(), progress=lambda *step: seen.append(step))
    assert seen == [("customers", 3, 3), ("orders", 6, 6)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.timestamp("s"), [day(2), day(1)]),
        (pa.timestamp("ns"), [day(2), day(1)]),
        (pa.timestamp("us", tz="Asia/Tokyo"), [day(2), day(1)]),
        (pa.date32(), [day(2), day(1)]),
        (pa.string(), ["2020-01-03T02:00:00+02:00", "2020-01-02"]),
    ],
    ids=str,
)
def test_times_of_every_type_are_microseconds_utc(kind, values):
    db = open_tables({"t": {"id": [1, 2], "at": pa.array(values, kind)}}, table("t", "id", time_col="at"))
    graph = build_graph(db)
    assert graph["t"].time.tolist() == [START + DAY, START + 2 * DAY]
    assert graph["t"].pkey.to_pylist() == [2, 1]


def undated(null_time: str, **more: Any) -> Database:
    frames = {
        "p": {"id": [1, 2, 3, 4], "at": [day(3), None, day(1), None]},
        "c": {"p": [1, 2, 3, 4], "id": [1, 2, 3, 4]},
    }
    child = Table("c", ("id",), (ForeignKey(("p",), "p", **more),))
    return open_tables(frames, table("p", "id", time_col="at", null_time=null_time), child)


def test_rows_without_a_time_are_dropped_with_their_edges():
    graph = build_graph(undated("drop"))
    assert graph["p"].pkey.to_pylist() == [3, 1]
    assert (graph["p"].num_undated, graph["p"].tf.num_rows) == (0, 2)
    assert edges(graph, "c", "p", "p")[2] == [1, -1, 0, -1]


def test_rows_without_a_time_are_kept_before_all_others():
    graph = build_graph(undated("keep"))
    assert graph["p"].pkey.to_pylist() == [2, 4, 3, 1]
    assert graph["p"].num_undated == 2
    assert graph["p"].time.tolist() == [0, 0, START + DAY, START + 3 * DAY]
    assert edges(graph, "c", "p", "p")[2] == [3, 0, 2, 1]


def test_only_rows_without_a_time():
    frames = {"t": {"id": [2, 1], "at": pa.array([None, None], pa.timestamp("us"))}}
    graph = build_graph(open_tables(frames, table("t", "id", time_col="at", null_time="keep")))
    assert (graph["t"].num_undated, graph["t"].time.tolist()) == (2, [0, 0])
    graph = build_graph(open_tables(frames, table("t", "id", time_col="at")))
    assert (graph["t"].num_nodes, graph["t"].time.tolist(), graph["t"].pkey.type) == (0, [], pa.int64())


def test_a_row_that_exists_without_a_time_is_not_missing():
    build_graph(undated("drop", on_missing="error"))


def test_tables_without_rows():
    frames: dict[str, dict[str, Any]] = {
        "p": {"id": pa.array([], pa.string()), "at": pa.array([], pa.timestamp("us"))},
        "c": {"p": pa.array(["x", None], pa.string())},
        "d": {"p": pa.array([], pa.string())},
    }
    db = open_tables(frames, table("p", "id", time_col="at"), table("c", "", "p -> p"), table("d", "", "p -> p"))
    graph = build_graph(db)
    assert (graph["p"].num_nodes, graph["p"].pkey.type) == (0, pa.string())
    assert edges(graph, "c", "p", "p") == ([0], [], [-1, -1])
    assert edges(graph, "d", "p", "p") == ([0], [], [])
    assert node_index(graph, "p", ["x"]).tolist() == [-1]


def test_two_keys_to_one_table_and_a_table_that_refers_to_itself():
    frames = {
        "people": {"id": ["b", "a", "c"], "boss": ["a", None, "b"], "at": [day(0), day(1), day(2)]},
        "calls": {"from": ["a", "c"], "to": ["b", "c"], "at": [day(4), day(3)]},
    }
    db = open_tables(
        frames,
        table("people", "id", "boss -> people", time_col="at"),
        table("calls", "", "from -> people", "to -> people", time_col="at"),
    )
    graph = build_graph(db)
    assert graph["people"].pkey.to_pylist() == ["b", "a", "c"]
    assert edges(graph, "people", "boss", "people") == ([0, 1, 2, 2], [2, 0], [1, -1, 0])
    assert edges(graph, "calls", "from", "people")[2] == [2, 1]
    assert edges(graph, "calls", "to", "people")[2] == [2, 0]


def test_keys_of_two_columns():
    frames = {
        "lines": {"order": [1, 1, 2, 2], "line": ["a", "b", "a", None], "at": [day(3), day(2), day(1), day(0)]},
        "returns": {"order": [1.0, 2.0, 1.0, None], "line": ["b", "a", "z", "a"]},
    }
    db = open_tables(frames, table("lines", "order,line", time_col="at"), table("returns", "", "order,line -> lines"))
    graph = build_graph(db)
    assert graph["lines"].pkey.to_pylist() == ['["2",null]', '["2","a"]', '["1","b"]', '["1","a"]']
    named = sorted(graph["lines", "rev_order,line", "returns"]["index"].tolist())
    assert named == [-1, -1, 1, 2]
    assert node_index(graph, "lines", [(1, "a"), [2, "a"], (2, None), (3, "a")]).tolist() == [3, 1, 0, -1]


def test_large_numbers_that_came_as_floats_name_one_row():
    """As floating point both of these keys are the same number."""
    big = 2**53
    frames = {"p": {"id": [big, big + 1]}, "c": {"id": [0, 1, 2], "p": [float(big), 1.5, None]}}
    graph = build_graph(open_tables(frames, table("p", "id"), table("c", "id", "p -> p")))
    assert edges(graph, "c", "p", "p") == ([0, 1, 1], [0], [0, -1, -1])


@pytest.mark.parametrize("kind", [pa.uint64(), pa.decimal128(30, 0), pa.float64()], ids=str)
def test_whole_numbers_of_other_types_name_each_other(kind):
    parents = pa.array([2**40, 3, 2], pa.int64()).cast(kind)
    frames = {"p": {"id": parents}, "c": {"id": [0, 1, 2, 3], "p": pa.array([3, 2**40, 4, None], pa.int64())}}
    graph = build_graph(open_tables(frames, table("p", "id"), table("c", "id", "p -> p")))
    keys = graph["p"].pkey.to_pylist()
    assert [keys[i] if i >= 0 else None for i in edges(graph, "c", "p", "p")[2]] == [3, 2**40, None, None]
    assert node_index(graph, "p", pa.array([2, 2**40, 9])).tolist() == [keys.index(2), keys.index(2**40), -1]


def test_types_that_arrow_does_not_compare(tmp_path):
    con = duckdb.connect(tmp_path / "types.duckdb")
    con.execute("CREATE TABLE u(id UUID, n HUGEINT)")
    con.execute("CREATE TABLE h(n HUGEINT, i INTERVAL, u UUID)")
    ids = [f"{n:08}-0000-4000-8000-000000000000" for n in range(3)]
    con.execute(f"INSERT INTO u VALUES ('{ids[0]}', 1::HUGEINT << 90), ('{ids[1]}', 5)")
    con.execute(f"INSERT INTO h VALUES (1::HUGEINT << 90, INTERVAL 3 DAY, '{ids[1]}'), (2, INTERVAL 1 DAY, '{ids[2]}')")
    con.close()
    columns = {"u": ("id", "n"), "h": ("n", "i", "u")}
    schema = Schema(
        "types",
        {
            "u": Table("u", ("id",), (ForeignKey(("n",), "h"),), columns=tuple(map(Column, columns["u"]))),
            "h": Table("h", ("n",), (ForeignKey(("u",), "u"),), columns=tuple(map(Column, columns["h"]))),
        },
    )
    graph = build_graph(connect(tmp_path / "types.duckdb", schema=schema))
    big, first, second = decimal.Decimal(1 << 90), *node_index(graph, "u", ids[:2]).tolist()
    assert sorted(graph["u"].pkey.to_pylist()) == ids[:2]
    index = edges(graph, "h", "u", "u")[2]
    assert index[graph["h"].pkey.to_pylist().index(big)] == second
    assert edges(graph, "u", "n", "h")[2][first] == graph["h"].pkey.to_pylist().index(big)
    assert sorted(index) == [-1, second]


def test_tables_in_a_circle():
    frames = {
        "a": {"id": [2, 1], "b": ["y", None]},
        "b": {"id": ["x", "y"], "a": [1, 2], "c": [1, 1]},
        "c": {"id": [1], "a": [2]},
    }
    db = open_tables(
        frames, table("a", "id", "b -> b"), table("b", "id", "a -> a", "c -> c"), table("c", "id", "a -> a")
    )
    graph = build_graph(db)
    x, y = node_index(graph, "b", ["x", "y"]).tolist()
    assert edges(graph, "a", "b", "b")[2] == [-1, y]
    index = edges(graph, "b", "a", "a")[2]
    assert (index[x], index[y]) == (0, 1)
    assert edges(graph, "c", "a", "a")[2] == [1]
    assert list(graph.node_types) == ["a", "b", "c"]


def test_hidden_columns():
    db = little()
    graph = build_graph(db, hidden=[("orders", "customer")])
    assert edges(graph, "orders", "customer", "customers") == ([0, 0, 0, 0], [], [-1] * 6)
    for wrong, text in ((("order", "id"), "no table 'order'. Did you mean 'orders'"), (("orders", "it"), "no column")):
        with pytest.raises(UnknownNameError, match=text):
            build_graph(db, hidden=[wrong])


def test_hidden_columns_do_not_decide_the_order():
    """A table without a key: its rows of one time are the same but for what is hidden."""
    frames = {"t": {"at": [day(0)] * 40, "label": list(range(40)), "x": [0.0] * 20 + [1.0] * 20}}
    rows = table("t", time_col="at", columns=(Column("label", stype="numerical"), Column("x", stype="numerical")))
    statistics = fit_statistics(open_tables(frames, rows))
    orders = set()
    for turn in range(3):
        frames["t"]["label"] = [(n + turn) % 40 for n in range(40)]
        graph = build_graph(open_tables(frames, rows), statistics=statistics, hidden=[("t", "label")])
        orders.add(tuple(graph["t"].tf.feat_dict[next(iter(graph["t"].tf.feat_dict))].view(-1).tolist()))
    assert len(orders) == 1


@pytest.mark.parametrize("dated", [True, False])
def test_rows_of_keys_alone_are_in_one_order(dated):
    """A row without a key or a feature of its own is what it names and when: the source's order decides nothing."""
    draw = random.Random(0)
    pairs = [(draw.randrange(3), draw.choice([None, 0, 1, 2, 7]), draw.randrange(2)) for _ in range(200)]
    tables = (
        table("a", "id"),
        table("link", "", "x -> a", "y -> a", time_col="at" if dated else None),
    )
    found = []
    for _ in range(3):
        frames = {
            "a": {"id": [0, 1, 2]},
            "link": {"x": [x for x, _, _ in pairs], "y": [y for _, y, _ in pairs], "at": [day(t) for *_, t in pairs]},
        }
        graph = build_graph(open_tables(frames, *tables))
        x, y = (edges(graph, "link", name, "a")[2] for name in ("x", "y"))
        when = graph["link"].time.tolist() if dated else [0] * len(x)
        found.append((x, y, when))
        assert list(zip(when, x, y, strict=True)) == sorted(zip(when, x, y, strict=True))
        draw.shuffle(pairs)
    assert found[0] == found[1] == found[2]


def test_times_derived_from_parents(shop):
    """order_items has no time of its own: an item is known since its order is."""
    graph = build_graph(shop)
    assert shop.schema["order_items"].time_col == KNOWN_SINCE
    orders = graph["orders", "rev_order_id", "order_items"]["index"].long()
    torch.testing.assert_close(graph["order_items"].time, graph["orders"].time[orders], rtol=0, atol=0)


def test_a_schema_that_was_saved_gives_the_same_graph(shop, shop_frames, tmp_path):
    again = connect(shop_frames, schema=shop.schema.save(tmp_path / "manifest.yaml"))
    first, second = build_graph(shop), build_graph(again)
    for one, two in zip(first.node_stores, second.node_stores, strict=True):
        assert one.pkey.equals(two.pkey)
        for kind, values in one.tf.feat_dict.items():
            other = two.tf.feat_dict[kind]
            same = values if isinstance(values, torch.Tensor) else values.values
            torch.testing.assert_close(same, other if isinstance(other, torch.Tensor) else other.values, equal_nan=True)


def test_keys_in_more_rows_than_a_batch():
    """Batches that arrive in any order, tables whose rows are dropped, and text keys."""
    n = 300_000
    keys = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    frames = {
        "p": {"id": [f"k{k}" for k in keys.tolist()], "at": [day(k % 50) if k % 7 else None for k in keys.tolist()]},
        "c": {"id": keys.tolist(), "p": [f"k{k}" for k in keys.flip(0).tolist()]},
    }
    db = open_tables(frames, table("p", "id", time_col="at"), table("c", "id", "p -> p"))
    graph = build_graph(db, edge_index=False)
    known = graph["p"].pkey.to_pylist()
    assert graph["p"].num_nodes == len(known) == sum(k % 7 != 0 for k in range(n))
    assert (graph["p"].time.diff() >= 0).all()
    assert graph["p"].time.tolist() == [START + int(k[1:]) % 50 * DAY for k in known]
    assert graph["c"].pkey.to_pylist() == list(range(n))
    parent = dict(zip(frames["c"]["id"], frames["c"]["p"], strict=True))
    index = edges(graph, "c", "p", "p")[2]
    assert all((known[i] == parent[c]) if i >= 0 else int(parent[c][1:]) % 7 == 0 for c, i in enumerate(index))


REPEATED = [
    (
        {"id": [1, 2, 1, 3, 3, 9, 9, 8, 8]},
        "id",
        r"t\.id is given as the primary key .* \(first: 1, 3, 8\)\. Remove the",
    ),
    ({"id": ["x", None, None, "x"]}, "id", r"t\.id is given as the primary key but has repeated values \(first: x\)"),
    ({"id": [1.5, 1.5]}, "id", r"\(first: 1\.5\)"),
    ({"a": [1, 1, None, None], "b": ["z", "z", "z", "z"]}, "a,b", r"t\.a, b is given .* \(first: \(1, z\)\)"),
]


@pytest.mark.parametrize(("columns", "pkey", "text"), REPEATED, ids=["whole", "text", "float", "two"])
def test_repeated_keys_are_refused(columns, pkey, text):
    with pytest.raises(SchemaError, match=text):
        build_graph(open_tables({"t": columns}, table("t", pkey)))


def test_keys_that_are_missing_are_not_repeated():
    frames = {"t": {"a": [1, 1, None, None], "b": [None, None, "z", None]}, "u": {"id": [None, None, 1]}}
    graph = build_graph(open_tables(frames, table("t", "a,b"), table("u", "id", "id -> u")))
    assert graph["t"].num_nodes == 4
    assert sorted(edges(graph, "u", "id", "u")[2]) == [-1, -1, graph["u"].pkey.to_pylist().index(1)]


def test_a_key_repeated_by_a_row_without_a_time_is_not_seen():
    frames = {"t": {"id": [1, 1], "at": [day(0), None]}}
    assert build_graph(open_tables(frames, table("t", "id", time_col="at")))["t"].pkey.to_pylist() == [1]
    with pytest.raises(SchemaError, match="repeated values"):
        build_graph(open_tables(frames, table("t", "id", time_col="at", null_time="keep")))


def test_values_without_a_row_are_refused_where_the_schema_says_so():
    frames = {"p": {"id": [1, 2]}, "c": {"p": [1, 5, 5, 4, None, 6, 7]}}
    strict = Table("c", (), (ForeignKey(("p",), "p", on_missing="error"),))
    text = (
        r"^c\.p -> p\.id: 4 values have no matching row \(first: 4, 5, 6\)\. Load the missing rows of 'p', or set "
        r"on_missing = 'drop' for this key in manifest\.yaml to leave those edges out\.$"
    )
    with pytest.raises(SchemaError, match=text):
        build_graph(open_tables(frames, table("p", "id"), strict))
    frames["c"]["p"] = [1, None, 2, 1]
    assert sorted(edges(build_graph(open_tables(frames, table("p", "id"), strict)), "c", "p", "p")[2]) == [-1, 0, 0, 1]
    two = {"p": {"a": [1], "b": ["x"]}, "c": {"a": [1, 1, 2, None], "b": ["x", "y", "x", "x"]}}
    strict = Table("c", (), (ForeignKey(("a", "b"), "p", on_missing="error"),))
    with pytest.raises(SchemaError, match=r"c\.a,b -> p\.a, b: 2 values .* \(first: \(1, y\), \(2, x\)\)"):
        build_graph(open_tables(two, table("p", "a,b"), strict))


def test_text_does_not_name_a_number():
    frames = {"p": {"id": [1, 2]}, "c": {"p": ["1", "2"]}}
    with pytest.raises(SchemaError, match=r"c\.p \(VARCHAR\) -> p\.id \(BIGINT\): the types cannot be compared"):
        open_tables(frames, table("p", "id"), table("c", "", "p -> p"))


def test_a_key_that_is_called_like_the_way_back():
    frames = {"p": {"id": [1]}, "t": {"id": [1], "x": [1], "rev_x": [1]}}
    with pytest.raises(
        SchemaError, match=r"t\.rev_x -> t has the name that the graph gives to the way back along t\.x"
    ):
        build_graph(open_tables(frames, table("p", "id"), table("t", "id", "x -> t", "rev_x -> t")))
    graph = build_graph(open_tables(frames, table("p", "id"), table("t", "id", "x -> p", "rev_x -> t")))
    assert len(graph.edge_types) == 4


def test_statistics_or_their_time_but_not_both():
    db = little()
    statistics = fit_statistics(db)
    with pytest.raises(UsageError, match="give it or 'statistics', not both"):
        build_graph(db, statistics=statistics, fit_until="2020-01-01")
    assert build_graph(db, statistics=Statistics(None))["orders"].tf.num_cols == 1


def test_node_index_by_hand():
    graph = build_graph(little())
    assert node_index(graph, "customers", [20, 10, 5, None]).tolist() == [1, 0, -1, -1]
    assert node_index(graph, "customers", ["20"]).tolist() == [1]
    assert node_index(graph, "customers", pa.chunked_array([[2**40], [30]])).tolist() == [-1, 2]
    assert node_index(graph, "customers", pd.Series([10.0, 20.0])).tolist() == [0, 1]
    assert node_index(graph, "customers", []).tolist() == []
    with pytest.raises(UnknownNameError, match=r"no table 'customer'\. Did you mean 'customers'"):
        node_index(graph, "customer", [1])
    with pytest.raises(UsageError, match=r"keys of 'customers' are of type int64, got string: .*Failed to parse"):
        node_index(graph, "customers", ["x"])
    none = build_graph(open_tables({"t": {"x": [1]}}, table("t")))
    with pytest.raises(SchemaError, match="table 't' has no primary key, so its rows cannot be named"):
        node_index(none, "t", [1])
