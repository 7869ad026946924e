"""Schemas as YAML: what we save is read back, by us and by relbench; what is edited wrongly is refused."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace

import pytest
import relbench
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from relbench.manifest import DatasetManifest, validate_dataset_manifest

from graphlearn.errors import SchemaError, SourceError, StorageError, UnknownNameError
from graphlearn.schema import Column, ForeignKey, Schema, Table, connect
from graphlearn.schema.schema import KNOWN_SINCE, NULL_TIMES, ON_MISSING, STYPES

SMALL = {
    "name": "small",
    "val_timestamp": "2020-01-01",
    "test_timestamp": "2021-01-01",
    "tables": {
        "a": {"pkey": "id", "time_col": None, "fkeys": {}},
        "b": {"pkey": None, "time_col": "at", "fkeys": {"a_id": "a"}, "columns": {"x": {"stype": "numerical"}}},
    },
}


def edited(tmp_path, change):
    content = yaml.safe_load(yaml.safe_dump(SMALL))
    change(content["tables"])
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_relbench_manifest_of_rel_f1(rel_f1):
    schema = Schema.load(rel_f1)
    theirs = DatasetManifest.load(rel_f1 / "manifest.yaml")
    assert list(schema.tables) == list(theirs.tables)
    for name, spec in theirs.tables.items():
        table = schema[name]
        assert table.pkey == (spec.pkey,)
        assert table.time_col == spec.time_col
        assert {key.columns: key.table for key in table.fkeys} == {(c,): t for c, t in spec.fkeys.items()}
        # What others refer to stays, where the manifest does not say otherwise.
        assert table.null_time == ("keep" if name in ("races", "drivers", "circuits", "constructors") else "drop")
    assert (schema.val_timestamp, schema.test_timestamp) == ("2005-01-01", "2010-01-01")


def test_what_we_save_of_rel_f1_loads_in_relbench(rel_f1, tmp_path):
    db = connect(rel_f1)
    copy = tmp_path / "rel-f1"
    (copy / "db").mkdir(parents=True)
    for file in (rel_f1 / "db").iterdir():
        shutil.copyfile(file, copy / "db" / file.name)
    path = db.schema.save(copy / "manifest.yaml")
    theirs = DatasetManifest.load(path)
    validate_dataset_manifest(theirs, copy / "db")
    original = DatasetManifest.load(rel_f1 / "manifest.yaml")
    assert replace(theirs, description="") == replace(original, description="")
    loaded = relbench.load_dataset(str(copy)).get_db(upto_test_timestamp=False)
    assert sum(len(table.df) for table in loaded.table_dict.values()) == 97_606
    assert loaded.table_dict["results"].fkey_col_to_pkey_table["raceId"] == "races"
    assert connect(copy).schema == db.schema


def test_a_schema_with_a_derived_time_and_composite_keys_loads_in_relbench_too(shop, shop_frames, tmp_path):
    items = shop.schema["order_items"]
    assert (items.pkey, items.time_col, items.time_from) == (("order_id", "line"), KNOWN_SINCE, ("order_id",))
    (tmp_path / "db").mkdir()
    for name, frame in shop_frames.items():
        frame.to_parquet(tmp_path / "db" / f"{name}.parquet")
    path = shop.schema.save(tmp_path / "manifest.yaml")
    theirs = DatasetManifest.load(path)
    validate_dataset_manifest(theirs, tmp_path / "db")
    assert theirs.tables["order_items"].pkey is None
    assert theirs.tables["order_items"].time_col is None
    assert theirs.tables["order_items"].fkeys == {"order_id": "orders", "product_id": "products"}
    assert connect(tmp_path).schema == shop.schema
    assert connect(tmp_path).fingerprint() == shop.fingerprint()


def test_a_manifest_beside_plain_files_is_used(shop_frames, tmp_path):
    for name, frame in shop_frames.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
    first = connect(tmp_path)
    assert first.schema["orders"].time_col == "created_at"
    orders = replace(first.schema["orders"], time_col=None)
    tables = first.schema.tables | {"orders": orders, "order_items": replace(_undated(first.schema["order_items"]))}
    replace(first.schema, tables=tables).save(tmp_path / "manifest.yaml")
    assert connect(tmp_path).schema["orders"].time_col is None


def _undated(table):
    columns = tuple(column for column in table.columns if column.name != KNOWN_SINCE)
    return replace(table, time_col=None, time_from=(), columns=columns)


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
comments = st.sampled_from(["", 'says: # \u00e9\n"more"'])
confidences = st.integers(0, 1000).map(lambda n: n / 1000)


@st.composite
def schemas(draw):
    tables = {}
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        columns = draw(st.lists(names, min_size=2, max_size=6, unique=True))
        pkey = tuple(columns[: draw(st.integers(1, 2))])
        time_col = draw(st.sampled_from([None, *columns]))
        tables[name] = Table(
            name,
            pkey=pkey,
            time_col=time_col,
            null_time=draw(st.sampled_from(NULL_TIMES)) if time_col is not None else "drop",
            pkey_evidence=draw(st.sampled_from(["", "declared"])),
            comment=draw(comments),
            columns=tuple(
                Column(c, "BIGINT", draw(st.sampled_from([None, *STYPES])), draw(confidences), draw(comments))
                for c in columns
            ),
            pkey_confidence=draw(confidences),
        )
    for name, table in tables.items():
        for target in draw(st.lists(st.sampled_from(sorted(tables)), max_size=2, unique=True)):
            size = len(tables[target].pkey)
            columns = tuple(column.name for column in table.columns[-size:])
            if columns in [key.columns for key in tables[name].fkeys]:
                continue
            key = ForeignKey(
                columns, target, draw(st.sampled_from(ON_MISSING)), evidence=draw(st.sampled_from(["", "e"]))
            )
            tables[name] = replace(tables[name], fkeys=(*tables[name].fkeys, key))
    for name, table in tables.items():
        referred = any(key.table == name for other in tables.values() for key in other.fkeys)
        if table.time_col is None:
            # Not written without a time column, so it is what loading assumes.
            tables[name] = replace(tables[name], null_time="keep" if referred else "drop")
        single = [key for key in tables[name].fkeys if len(key.columns) == 1]
        composite = [key for key in tables[name].fkeys if len(key.columns) > 1]
        tables[name] = replace(tables[name], fkeys=(*single, *composite))
    return Schema(draw(names), tables, draw(st.sampled_from([None, "2020-01-01"])), None, None)


@settings(max_examples=60, deadline=None)
@given(schema=schemas())
def test_any_schema_is_read_back_as_it_was_saved(schema, tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "manifest.yaml"
    schema.save(path)
    assert Schema.load(path) == schema
    assert DatasetManifest.load(path).tables.keys() == schema.tables.keys()
    assert [p.name for p in path.parent.iterdir()] == ["manifest.yaml"]


def test_short_forms_and_dates_without_quotes(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(
        "val_timestamp: 2020-01-01\n"
        "tables:\n"
        "  a: {pkey: id}\n"
        "  b:\n"
        "    fkeys: {a_id: a}\n"
        "    columns: {x: text, y: null}\n"
        "  c:\n"
    )
    schema = Schema.load(path)
    assert schema.val_timestamp == "2020-01-01"
    assert schema.name == tmp_path.name
    assert [(c.name, c.stype) for c in schema["b"].columns] == [("x", "text"), ("y", None)]
    assert schema["c"] == Table("c")


EDITS = [
    (
        lambda t: t["b"]["fkeys"].update(a_id="aa"),
        SchemaError,
        "b.a_id -> aa: a foreign key without a target: no table 'aa'. Did you",
    ),
    (
        lambda t: t["a"].update(pkey=None),
        SchemaError,
        "b.a_id -> a: a foreign key without a target: 'a' has no primary key",
    ),
    (
        lambda t: t["b"]["columns"]["x"].update(stype="numeric"),
        SchemaError,
        "b.x: no stype 'numeric'. Did you mean 'numerical'",
    ),
    (lambda t: t["b"].update(null_time="kep"), SchemaError, "b: no null_time 'kep'. Did you mean 'keep'"),
    (
        lambda t: t["b"].update(on_missing={"a_id": "ignore"}),
        SchemaError,
        "b: no on_missing 'ignore'.*Known: drop, error",
    ),
    (
        lambda t: t["b"].update(composite_fkeys=[{"columns": ["x", "y"], "table": "a"}]),
        SchemaError,
        r"b.x,y -> a: the foreign key has 2 columns, but the primary key of 'a' has 1 \(id\)",
    ),
    (
        lambda t: t["b"].update(composite_fkeys=[{"table": "a"}]),
        SchemaError,
        r"b.composite_fkeys needs rows \{columns: \[..\], table: ..\}",
    ),
    (
        lambda t: t["b"].update(composite_fkeys=[{"columns": ["a_id"], "table": "a"}]),
        SchemaError,
        "b.a_id is a foreign key twice",
    ),
    (lambda t: t["b"].update(fkeys=["a_id"]), SchemaError, r"b.fkeys must be a mapping, got \['a_id'\]"),
    (lambda t: t["b"].update(fkeys={1: "a"}), SchemaError, "b.fkeys: 1 is not text; put the name in quotes"),
    (
        lambda t: t["b"]["columns"].update(x=3),
        SchemaError,
        "b.columns.x must be an stype or a mapping with 'stype', got 3",
    ),
    (lambda t: t["b"]["columns"].update(x={}), SchemaError, "b.columns.x has no 'stype'; write 'stype: null'"),
    (lambda t: t.update(b="a"), SchemaError, "b must be a mapping with pkey, time_col and fkeys, got 'a'"),
    (
        lambda t: t["b"].update(confidence={"pkey": 2}),
        SchemaError,
        r"the confidence of 'pkey' must be a number in \[0, 1\], got 2",
    ),
    (lambda t: t["b"].update(time_from=["a_id"]), SchemaError, "b has both time_col and time_from"),
    (
        lambda t: t["b"].update(time_from=["a_id"], time_col=None),
        SchemaError,
        "b.time_from: 'a_id' refers to 'a', which gives no time",
    ),
    (
        lambda t: t["b"].update(time_from=["a"], time_col=None),
        SchemaError,
        "b.time_from: no foreign key 'a'.*Known: a_id",
    ),
]


@pytest.mark.parametrize(("change", "error", "text"), EDITS)
def test_an_edit_that_makes_no_sense(tmp_path, change, error, text):
    with pytest.raises(error, match=text):
        Schema.load(edited(tmp_path, change))


def test_times_that_go_in_a_circle(tmp_path):
    def change(tables):
        tables["a"] = {"pkey": "id", "fkeys": {"b_id": "b"}, "time_from": ["b_id"]}
        tables["b"] = {"pkey": "id", "fkeys": {"a_id": "a"}, "time_from": ["a_id"]}

    with pytest.raises(SchemaError, match="time_from goes in a circle: a -> b -> a"):
        Schema.load(edited(tmp_path, change))


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        ("tables: [", SourceError, "is not readable as YAML"),
        ("tables: [a]", SchemaError, "lists no tables"),
        ("", SchemaError, "lists no tables"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path, content, error, text):
    (tmp_path / "m.yaml").write_text(content)
    with pytest.raises(error, match=text):
        Schema.load(tmp_path / "m.yaml")


def test_a_manifest_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match=r"the manifest .*nothing.yaml cannot be read: No such file"):
        Schema.load(tmp_path / "nothing.yaml")


def test_saving_where_nothing_can_be_written(tmp_path):
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "no" / "manifest.yaml", tmp_path / "taken"):
        with pytest.raises(StorageError, match=r"the manifest .* cannot be written"):
            Schema("s", {"a": Table("a")}).save(path)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


FRAMES_SCHEMA = Schema(
    "s",
    {
        "a": Table("a", pkey=("id",)),
        "b": Table("b", fkeys=(ForeignKey(("a_id",), "a"),), time_col="at"),
    },
)


@pytest.fixture
def frames():
    import pandas as pd

    return {
        "a": pd.DataFrame({"id": [1, 2], "x": [0.5, 1.5], "name": ["m", "n"]}),
        "b": pd.DataFrame({"a_id": [1, 1], "at": [dt.datetime(2020, 1, 1)] * 2, "n": [5, 6], KNOWN_SINCE: [1, 2]}),
        "c": pd.DataFrame({"z": [1]}),
    }


def test_a_schema_of_the_user_is_completed_not_changed(frames):
    schema = connect(frames, schema=FRAMES_SCHEMA).schema
    assert list(schema.tables) == ["a", "b"]  # what the schema does not list is not used
    assert schema["b"].fkeys == FRAMES_SCHEMA["b"].fkeys
    assert schema["b"].stypes.keys() == {"at", "n", KNOWN_SINCE}
    assert schema["a"].column("x").stype == "numerical"
    given = replace(FRAMES_SCHEMA["a"], columns=(Column("x", stype="categorical"),))
    schema = connect(frames, schema=replace(FRAMES_SCHEMA, tables=FRAMES_SCHEMA.tables | {"a": given})).schema
    assert [(c.name, c.dtype, c.stype) for c in schema["a"].columns] == [
        ("id", "BIGINT", None),
        ("x", "DOUBLE", "categorical"),
        ("name", "VARCHAR", "text"),
    ]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"d": Table("d")}, UnknownNameError, "no table 'd'. Did you mean 'a'|no table 'd'. Known: a, b, c"),
        ({"b": Table("b", time_col="att")}, UnknownNameError, "no column of table 'b' 'att'. Did you mean 'at'"),
        ({"a": Table("a", pkey=("ids",))}, UnknownNameError, "no column of table 'a' 'ids'. Did you mean 'id'"),
        ({"a": Table("a", pkey=("id",), columns=(Column("y"),))}, UnknownNameError, "no column of table 'a' 'y'"),
        (
            {"a": Table("a", pkey=("name",))},
            SchemaError,
            r"b.a_id \(BIGINT\) -> a.name \(VARCHAR\): the types cannot be compared",
        ),
        (
            {"b": Table("b", time_col="n")},
            SchemaError,
            r"b.n is the time column, but its type BIGINT is not a point in time",
        ),
        (
            {
                "a": Table("a", pkey=("id",), time_col="at"),
                "b": Table("b", fkeys=(ForeignKey(("a_id",), "a"),), time_col=KNOWN_SINCE, time_from=("a_id",)),
            },
            SchemaError,
            "b has a column 'known_since' of its own",
        ),
    ],
)
def test_a_schema_that_the_source_does_not_bear_out(frames, change, error, text):
    frames["a"]["at"] = [dt.datetime(2020, 1, 1)] * 2
    if "time_from" in text or "known_since" in text:
        frames["b"] = frames["b"].rename(columns={KNOWN_SINCE: KNOWN_SINCE.upper()})
    with pytest.raises(error, match=text):
        connect(frames, schema=replace(FRAMES_SCHEMA, tables=FRAMES_SCHEMA.tables | change))


def test_names_that_a_schema_does_not_have():
    schema = Schema("s", {"orders": Table("orders", columns=(Column("total"),))})
    with pytest.raises(UnknownNameError, match=r"no table 'order'. Did you mean 'orders'"):
        schema["order"]
    with pytest.raises(UnknownNameError, match=r"no column of table 'orders' 'totl'. Did you mean 'total'"):
        schema["orders"].column("totl")
