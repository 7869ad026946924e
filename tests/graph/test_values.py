"""The rows behind nodes, with and without primary keys, against the frames that they came from."""

from __future__ import annotations

import datetime as dt
import decimal

import pandas as pd
import pytest
import torch
from little_shop import open_tables, tables

from graphlearn.graph import build_graph
from graphlearn.graph.values import plain, row_values
from graphlearn.schema import connect


@pytest.fixture(scope="module")
def shop():
    frames = tables()
    db = open_tables(frames)
    return frames, db, build_graph(db)


def test_rows_with_a_key(shop):
    frames, db, graph = shop
    nodes = torch.tensor([5, 0, 5, 17])
    found = row_values(db, graph, "orders", nodes)
    orders = frames["orders"].set_index("order_id")
    for node, row in zip(nodes.tolist(), found, strict=True):
        wanted = orders.loc[graph["orders"].pkey[node].as_py()]
        assert row["order_id"] == wanted.name
        assert (row["amount"], row["kind"]) == (wanted["amount"], wanted["kind"])
        assert pd.Timestamp(row["placed"]) == wanted["placed"]


def test_rows_without_a_key_are_those_of_the_nodes(shop):
    frames, db, graph = shop
    count = graph["items"].num_nodes
    found = row_values(db, graph, "items", torch.arange(count))
    assert len(found) == len(frames["items"])
    numbers = graph["items"].tf.feat_dict
    (values,) = (numbers[kind][:, 0] for kind in numbers)
    quantity = torch.tensor([float(row["quantity"]) for row in found])
    column = db.schema["items"].column("quantity")
    assert column.stype == "numerical"
    torch.testing.assert_close((quantity - quantity.mean()) / quantity.std(correction=0), values, rtol=1e-4, atol=1e-4)
    placed = frames["orders"].set_index("order_id")["placed"]
    assert [pd.Timestamp(row["known_since"]) for row in found] == [placed[row["order_id"]] for row in found]


def test_hidden_columns_are_not_shown(shop):
    _, db, graph = shop
    (row,) = row_values(db, graph, "orders", torch.tensor([0]), hidden=[("orders", "amount"), ("items", "quantity")])
    assert sorted(row) == ["customer_id", "kind", "order_id", "placed"]


def test_names_of_any_kind():
    frame = pd.DataFrame({'say "hi"; --': ["a'b", "c"], "r.k": [1.5, None], "c0": ["x", "y"], "t": [1, 2]})
    db = connect({'drop "table"': frame})
    found = row_values(db, build_graph(db), 'drop "table"', torch.tensor([1, 0]))
    assert sorted(row['say "hi"; --'] for row in found) == ["a'b", "c"]
    assert {row["r.k"] for row in found} == {1.5, None}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (decimal.Decimal("12.50"), 12.5),
        (decimal.Decimal("12.00"), 12),
        (float("nan"), None),
        (float("inf"), None),
        (dt.datetime(2021, 3, 1), "2021-03-01"),
        (dt.datetime(2021, 3, 1, 12, 30), "2021-03-01 12:30:00"),
        (dt.date(2021, 3, 1), "2021-03-01"),
        (b"\x00\xff", "00ff"),
        ([decimal.Decimal("1.5"), None], [1.5, None]),
        ({"a": dt.time(1, 2)}, {"a": "01:02:00"}),
        (True, True),
        (None, None),
    ],
)
def test_values_are_plain(value, said):
    assert plain(value) == said
