"""Keys inferred from names and values: real databases against what they declare, and the hard cases one by one."""

from __future__ import annotations

import importlib.util
import json
import sys
import uuid
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphlearn.database import open_source
from graphlearn.schema import connect
from graphlearn.schema.infer import infer_schema
from graphlearn.schema.schema import Schema

N = 50


def fkeys(schema, table):
    return {key.columns if len(key.columns) > 1 else key.columns[0]: key.table for key in schema[table].fkeys}


def test_rel_f1_as_a_plain_folder_gives_what_its_manifest_declares(rel_f1):
    declared = Schema.load(rel_f1)
    inferred = connect(rel_f1 / "db").schema
    assert inferred.tables.keys() == declared.tables.keys()
    for name, table in declared.tables.items():
        assert inferred[name].pkey == table.pkey, name
        assert fkeys(inferred, name) == fkeys(declared, name), name
        assert inferred[name].time_col == table.time_col, name
        assert inferred[name].null_time == table.null_time, name


def test_raw_rel_f1_in_csv_with_the_two_tables_that_relbench_leaves_out(data_dir):
    schema = connect(data_dir / "rel-f1").schema
    assert {name: table.pkey for name, table in schema.tables.items()} == {
        "circuits": ("circuitId",),
        "constructor_results": ("constructorResultsId",),
        "constructor_standings": ("constructorStandingsId",),
        "constructors": ("constructorId",),
        "driver_standings": ("driverStandingsId",),
        "drivers": ("driverId",),
        "qualifying": ("qualifyId",),
        "races": ("raceId",),
        "results": ("resultId",),
        "seasons": ("year",),
        "status": ("statusId",),
    }
    assert fkeys(schema, "races") == {"year": "seasons", "circuitId": "circuits"}
    assert fkeys(schema, "results") == {
        "raceId": "races", "driverId": "drivers", "constructorId": "constructors", "statusId": "status"
    }  # fmt: skip
    assert schema["races"].time_col == "date"
    # The raw results have no date: they are known since their race.
    assert schema["results"].time_from == ("raceId",)


def test_the_generated_shop_gives_what_its_manifest_declares():
    folder = Path(__file__).parents[2] / "datasets" / "shop"
    spec = importlib.util.spec_from_file_location("shop_generator", folder / "generate.py")
    generator = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generator  # its dataclasses look themselves up
    spec.loader.exec_module(generator)
    declared = Schema.load(folder)
    inferred = connect(generator.generate(0, 300)).schema
    for name, table in declared.tables.items():
        assert inferred[name].pkey == table.pkey, name
        assert fkeys(inferred, name) == fkeys(declared, name), name
        assert inferred[name].time_col == table.time_col, name


# What no name and no value gives away.
BEYOND = {("northwind", "Orders", "ShipVia")}


@pytest.mark.parametrize("name", ["chinook", "northwind", "sakila"])
def test_a_sample_database_gives_what_it_declares(data_dir, name):
    schema = connect(data_dir / "sql" / name).schema
    for table, declared in json.loads((data_dir / "sql" / name / "keys.json").read_text()).items():
        assert list(schema[table].pkey) == declared["primary_key"], table
        expected = {key["columns"]: key["table"] for key in declared["foreign_keys"]}
        expected = {column: target for column, target in expected.items() if (name, table, column) not in BEYOND}
        found = fkeys(schema, table)
        assert found.items() >= expected.items(), table
        # film_text extends film, though sakila does not declare it.
        assert found.keys() - expected.keys() <= ({"film_id"} if table == "film_text" else set()), table
        own_time = schema[table].time_col if not schema[table].time_from else None
        assert own_time is None or own_time in declared["time_columns"], table


def test_times_of_the_sample_databases(data_dir):
    def times(name):
        tables = connect(data_dir / "sql" / name).schema.tables
        return {table: spec.time_col for table, spec in tables.items() if spec.time_col and not spec.time_from}

    assert times("chinook") == {"Employee": "HireDate", "Invoice": "InvoiceDate"}
    assert times("northwind") == {"Employees": "HireDate", "Orders": "OrderDate"}
    # All customers of sakila have one create_date, after most of their rentals: a load, not a creation.
    assert times("sakila") == {"payment": "payment_date", "rental": "rental_date"}


def infer(**frames):
    return infer_schema(open_source({name: pd.DataFrame(columns) for name, columns in frames.items()}))


ids = np.arange(1, N + 1)
rng = np.random.default_rng(0)
some = rng.integers(1, N + 1, N)
texts = np.array([f"C-{i:04d}" for i in range(N)])
uuids = np.array([str(uuid.UUID(int=i**9 + 1)) for i in range(N)])


@pytest.mark.parametrize(
    ("table", "columns", "pkey"),
    [
        ("orders", {"id": ids}, ("id",)),
        ("orders", {"customer_id": some, "id": ids}, ("id",)),
        ("orders", {"ref": texts, "order_id": ids}, ("order_id",)),
        ("orders", {"orderid": ids}, ("orderid",)),
        ("Order Details", {"OrderDetailID": ids}, ("OrderDetailID",)),
        ("people", {"person_id": texts}, ("person_id",)),
        ("categories", {"categoryKey": ids}, ("categoryKey",)),
        ("dim_customer", {"customer_sk": ids}, ("customer_sk",)),
        ("countries", {"code": texts, "name": texts}, ("code",)),
        ("country", {"country": texts, "size": ids}, ("country",)),
        ("sessions", {"uuid": uuids, "n": ids}, ("uuid",)),
        ("orders", {"id": [*ids[:-1], 1]}, ()),  # not unique
        ("orders", {"id": [*ids[:-1].astype(object), None]}, ()),  # not always there
        ("orders", {"id": ids.astype(float) + 0.5}, ()),
        ("readings", {"value": rng.random(N), "note": texts}, ()),
        ("log", {"message": texts}, ()),
        ("bids", {"paid": ids}, ()),  # ends like a key and is none
        ("lines", {"order_id": np.repeat(ids[:25], 2), "line": np.tile([1, 2], 25)}, ("order_id", "line")),
        ("lines", {"order_id": np.repeat(ids[:25], 2), "line": 1}, ()),
        ("empty", {"empty_id": np.array([], int), "x": np.array([], float)}, ("empty_id",)),
    ],
)  # fmt: skip
def test_primary_key(table, columns, pkey):
    assert infer(**{table: columns})[table].pkey == pkey


def test_an_event_may_come_again_even_if_it_has_not_yet():
    days = pd.date_range("2020-01-01", periods=N)
    pairs = {"user_id": np.repeat(ids[:25], 2), "item_id": np.tile([3, 4], 25)}
    assert infer(users={"id": ids}, items={"id": ids}, likes=pairs)["likes"].pkey == ("user_id", "item_id")
    assert infer(users={"id": ids}, items={"id": ids}, clicks=pairs | {"at": days})["clicks"].pkey == ()


def test_two_foreign_keys_to_one_table():
    orders = {"id": ids, "billing_address_id": some, "shipping_address_id": some[::-1]}
    schema = infer(addresses={"id": ids, "city": texts}, orders=orders)
    assert fkeys(schema, "orders") == {"billing_address_id": "addresses", "shipping_address_id": "addresses"}


@pytest.mark.parametrize("column", ["parent_id", "ParentId", "reply_to", "previous_id", "parent_comment_id", "root_id"])
def test_a_row_may_refer_to_its_own_table(column):
    above = np.where(some < ids, some, np.nan)  # whole numbers with gaps come out of pandas as floats
    schema = infer(comments={"comment_id": ids, column: above})
    assert fkeys(schema, "comments") == {column: "comments"}


def test_roles_of_persons():
    schema = infer(
        employees={"id": ids, "manager_id": some, "reports_to": some},
        users={"id": ids},
        tickets={"id": ids, "author_id": some, "support_rep_id": some, "created_by_id": some, "weight": some},
        departments={"id": ids, "manager_id": some},
    )
    assert fkeys(schema, "employees") == {"manager_id": "employees", "reports_to": "employees"}
    assert fkeys(schema, "tickets") == {
        "author_id": "users", "support_rep_id": "employees", "created_by_id": "users"
    }  # fmt: skip
    assert fkeys(schema, "departments") == {"manager_id": "employees"}


def test_text_keys_and_keys_named_after_the_target_only():
    schema = infer(
        customers={"customer_code": texts},
        orders={"id": ids, "customer": rng.choice(texts, N), "placed_by": rng.choice(texts, N)},
        sessions={"session_uuid": uuids},
        visits={"id": ids, "session_uuid": rng.choice(uuids, N)},
    )
    # 'placed_by' says nothing; that all of its many texts are customers does.
    assert fkeys(schema, "orders") == {"customer": "customers", "placed_by": "customers"}
    sure = {key.name: key.confidence for key in schema["orders"].fkeys}
    assert sure["placed_by"] < sure["customer"] < 1
    assert fkeys(schema, "visits") == {"session_uuid": "sessions"}


def test_small_whole_numbers_are_no_keys_by_chance():
    schema = infer(
        shops={"id": ids},
        orders={"id": ids, "quantity": some, "order_count": some, "status_id": some, "shopping_time": some},
    )
    assert fkeys(schema, "orders") == {}


def test_numbers_that_use_little_of_their_range_are_keys_by_inclusion():
    wide = rng.permutation(10**6)[:N] * 1009
    schema = infer(things={"id": wide}, uses={"id": ids, "what": rng.choice(wide, N)})
    assert fkeys(schema, "uses") == {"what": "things"}


def test_keys_with_some_values_without_a_row_are_less_sure():
    sure = []
    for missing in (0, 10, 30):
        customer = np.concatenate([ids[: N - missing], 1000 + np.arange(missing)])
        schema = infer(customers={"id": ids}, orders={"id": ids, "customer_id": customer})
        sure += [key.confidence for key in schema["orders"].fkeys]
    assert len(sure) == 2  # with more than half missing, the name alone is not believed
    assert sure[0] > sure[1]


def test_an_empty_or_unset_key_is_taken_by_its_name():
    schema = infer(
        customers={"id": ids},
        orders={"id": ids, "customer_id": np.full(N, np.nan)},
        returns={"id": np.array([], int), "order_id": np.array([], int)},
    )
    assert fkeys(schema, "orders") == {"customer_id": "customers"}
    assert fkeys(schema, "returns") == {"order_id": "orders"}
    assert schema["orders"].fkeys[0].confidence <= 0.5


def test_composite_keys():
    items = {"order_id": np.repeat(ids[:25], 2), "line": np.tile([1, 2], 25), "product_id": some}
    returns = {"return_id": ids[:20], "order_id": items["order_id"][:20], "line": items["line"][:20]}
    schema = infer(orders={"id": ids}, products={"id": ids}, order_items=items, returns=returns)
    assert schema["order_items"].pkey == ("order_id", "line")
    assert fkeys(schema, "order_items") == {"order_id": "orders", "product_id": "products"}
    assert fkeys(schema, "returns") == {"order_id": "orders", ("order_id", "line"): "order_items"}


def test_a_table_that_extends_another_one():
    schema = infer(
        users={"user_id": ids, "name": texts},
        user_settings={"user_id": ids, "theme": some},
    )
    assert schema["user_settings"].pkey == ("user_id",)
    assert fkeys(schema, "user_settings") == {"user_id": "users"}
    assert fkeys(schema, "users") == {}


def test_declared_keys_come_first_and_are_sure(tmp_path):
    path = tmp_path / "d.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE people (id INTEGER UNIQUE, tax INTEGER PRIMARY KEY, code VARCHAR)")
        con.execute("CREATE TABLE cars (plate VARCHAR PRIMARY KEY, driven INTEGER REFERENCES people (tax), "
                    "bought INTEGER REFERENCES people (id), people_id INTEGER)")  # fmt: skip
        con.execute("INSERT INTO people SELECT range, 1000 + range, 'x' || range FROM range(20)")
        con.execute("INSERT INTO cars SELECT 'p' || range, 1000 + range % 7, range % 5, 1000 + range FROM range(20)")
    schema = connect(path).schema
    assert schema["people"].pkey == ("tax",)
    assert schema["people"].pkey_confidence == 1
    keys = {key.name: (key.table, key.confidence) for key in schema["cars"].fkeys}
    assert keys["driven"] == ("people", 1)
    # 'bought' refers to a column that is not the primary key, which a schema cannot say.
    assert keys.keys() == {"driven", "people_id"}
    assert keys["people_id"][1] < 1


def test_hostile_names_of_tables_and_columns():
    odd = {'customer "x".y': {"id": ids}, "select": {"id": ids, 'customer "x".y_id': some, "from where": some}}
    schema = infer(**odd)
    assert fkeys(schema, "select") == {'customer "x".y_id': 'customer "x".y'}
    assert schema["select"].column("from where").stype == "numerical"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 2**16), threads=st.sampled_from([1, 2]))
def test_the_order_of_rows_and_tables_decides_nothing(shop, shop_frames, data, seed, threads):
    order = data.draw(st.permutations(list(shop_frames)))
    frames = {name: shop_frames[name].sample(frac=1, random_state=seed) for name in order}
    source = open_source(frames, threads=threads)
    assert infer_schema(source).tables == shop.schema.tables
    source.close()


def test_each_proposed_key_says_what_speaks_for_it(shop):
    schema = shop.schema
    assert schema["orders"].pkey_evidence == "named as the table's key; 400 rows, all different"
    assert schema["order_items"].pkey_evidence.startswith("leading keys; ")
    (key,) = schema["orders"].fkeys
    assert key.evidence == "name; 60 of 60 values found"
    assert "-> customers (98 % sure: name; 60 of 60 values found)" in str(schema)


def test_a_sample_rejects_what_is_no_key_and_changes_nothing_else(shop_frames, monkeypatch):
    from graphlearn.schema import fkeys

    shop_frames["orders"]["product_id"] = [f"P-{number:05d}" for number in range(400)]
    whole = connect(shop_frames).schema
    counted, count = [], fkeys._count

    def noted(source, table, candidates, every=1):
        counted.append((table, every, [c.column for c in candidates]))
        return count(source, table, candidates, every)

    monkeypatch.setattr(fkeys, "SAMPLED_FROM", 100)
    monkeypatch.setattr(fkeys, "SAMPLE_VALUES", 100)
    monkeypatch.setattr(fkeys, "_count", noted)
    assert connect(shop_frames).schema == whole
    orders = {every: columns for table, every, columns in counted if table == "orders"}
    assert "product_id" in orders[4]
    assert "product_id" not in orders[1]
    assert "customer_id" in orders[1]
