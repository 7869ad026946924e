"""Chinook, Northwind and Sakila on every server, against their Parquet form: the same tables, keys and labels."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from conftest import SERVERS
from samples import NAMES, columns_of

import graphlearn as gl

LABELS = {
    "chinook": ("Customer", "CustomerId", "Invoice", "InvoiceDate"),
    "northwind": ("Customers", "CustomerID", "Orders", "OrderDate"),
    "sakila": ("customer", "customer_id", "rental", "rental_date"),
}
"""Entity, its key, the events that are counted, and their time."""


@pytest.mark.filterwarnings("ignore:.*is left out. its type BLOB")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_gives_what_the_files_give(sample_url, data_dir, server, name):
    folder = data_dir / "sql" / name
    # SQLite's Sakila has a 't' where its type says whole number, and the Parquet form a NULL.
    exclude = ["staff.active"] if server == "sqlite" and name == "sakila" else []
    db, files = gl.connect(sample_url(server, name), exclude=exclude), gl.connect(folder)
    declared = json.loads((folder / "keys.json").read_text())
    assert set(db.tables) == set(files.tables) == set(declared)
    for table, spec in declared.items():
        assert db.num_rows(table) == files.num_rows(table) == spec["rows"]
        assert db.schema[table].pkey == tuple(spec["primary_key"])
        assert db.schema[table].pkey_confidence == 1
        keys = {(tuple(columns_of(key, "columns")), key["table"]) for key in spec["foreign_keys"]}
        assert {(key.columns, key.table) for key in db.schema[table].fkeys if key.confidence == 1} == keys
        # SQLite's files alone have columns of bytes: pictures, which are left out, and texts.
        names = sorted(set(files.own_columns(table)) & set(db.own_columns(table)))
        assert server == "sqlite" or len(names) == len(files.own_columns(table)) == len(db.own_columns(table))
        assert values(db, table, names) == values(files, table, names)
    assert labels(db, name) == labels(files, name)


def values(db, table, names):
    """Every value as text, whatever its type: servers write the same numbers and times in types of their own."""
    kinds = db.own_columns(table)
    return sorted(map(repr, db.rows(f'SELECT {", ".join(plain(name, kinds[name]) for name in names)} FROM "{table}"')))


def plain(column, kind):
    name = f'"{column}"'
    if kind.startswith(("DECIMAL", "DOUBLE", "BIGINT", "INTEGER", "TINYINT", "SMALLINT", "BOOLEAN", "FLOAT")):
        return f"CAST({name} AS DOUBLE)"
    return f"epoch_us(CAST({name} AS TIMESTAMP))" if kind.startswith(("TIMESTAMP", "DATE")) else f"{name}"


def labels(db, name):
    """How many entities have an event within 30 days, for each of the anchors of a task."""
    entity, key, events, time = LABELS[name]
    last = db.rows(f'SELECT max("{time}") FROM "{events}"')[0][0]
    anchors = [pd.Timestamp(last) - pd.Timedelta(days=30 * i) for i in range(1, 7)]
    frame = pd.concat(
        pd.DataFrame(
            db.rows(
                f'SELECT e."{key}", EXISTS (SELECT 1 FROM "{events}" v WHERE v."{key}" = e."{key}" AND v."{time}" > $1 '
                f'AND v."{time}" <= $1 + INTERVAL 30 DAYS) FROM "{entity}" e',
                [anchor.to_pydatetime()],
            ),
            columns=["key", "label"],
        ).assign(time=anchor)
        for anchor in anchors
    )
    task = gl.Task.from_labels(
        db,
        frame,
        entity_table=entity,
        entity_col="key",
        time_col="time",
        target_col="label",
        timedelta="30 days",
        val_timestamp=str(anchors[2]),
        test_timestamp=str(anchors[0]),
    )
    found = {split: task.labels(split)["label"].agg(["count", "sum"]).tolist() for split in ("train", "val", "test")}
    assert all(count > 0 for count, _ in found.values())
    return found
