"""Small random databases: three levels of tables, ties, NULLs, odd names, two keys to one table, a self-reference."""

from __future__ import annotations

from typing import Any

import pandas as pd
from hypothesis import strategies as st

from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task

DAY = 86_400_000_000
START = 1_600_000_000_000_000
FAR = START + 1000 * DAY
WHERE, FROM = 'odd "where"', "from.a b"
WORDS = ("red", "blue", "it's", None)


def schema(null_time: str = "drop") -> Schema:
    """people <- visits -> places <- repairs; visits name people twice; notes belong to visits; people have a boss."""
    return Schema(
        "random",
        {
            "people": Table(
                "people",
                pkey=("id",),
                fkeys=(ForeignKey(("boss",), "people"), ForeignKey(("home",), "pla.ces")),
                time_col="born",
                null_time=null_time,
                columns=(
                    Column("id", stype=None),
                    Column("boss"),
                    Column("home"),
                    Column("born", stype="timestamp"),
                    Column("score", stype="numerical"),
                    Column("kind", stype="categorical"),
                ),
            ),
            "pla.ces": Table(
                "pla.ces",
                pkey=("id",),
                columns=(Column("id"), Column("size", stype="numerical"), Column("kind", stype="categorical")),
            ),
            "visits": Table(
                "visits",
                pkey=("id",),
                fkeys=(ForeignKey((FROM,), "people"), ForeignKey(("to",), "people"), ForeignKey((WHERE,), "pla.ces")),
                time_col="at",
                columns=(
                    Column("id"),
                    Column(FROM),
                    Column("to"),
                    Column(WHERE),
                    Column("at", stype="timestamp"),
                    Column("x", stype="numerical"),
                    Column("word", stype="categorical"),
                ),
            ),
            "notes": Table(
                "notes",
                pkey=("id",),
                fkeys=(ForeignKey(("visit",), "visits"),),
                time_col="at",
                columns=(
                    Column("id"),
                    Column("visit"),
                    Column("at", stype="timestamp"),
                    Column("y", stype="numerical"),
                ),
            ),
            "marks": Table(
                "marks",
                pkey=("id",),
                fkeys=(ForeignKey(("who",), "people"),),
                columns=(Column("id"), Column("who"), Column("z", stype="numerical")),
            ),
        },
    )


# Few distinct times, so that ties and both ends of windows are common.
times = st.one_of(st.none(), st.integers(0, 12).map(lambda k: START + k * 5 * DAY))
numbers = st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, allow_subnormal=False))
words = st.sampled_from(WORDS)


@st.composite
def databases(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table, with times as microseconds."""
    people = [f"p{i}" for i in range(draw(st.integers(1, 4)))]
    some_person = st.one_of(st.none(), st.sampled_from([*people, "nobody"]))
    some_place = st.one_of(st.none(), st.integers(0, 3))

    def rows(most: int, **columns: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
        made = draw(st.lists(st.fixed_dictionaries(columns), max_size=most))
        return [{"id": i, **row} for i, row in enumerate(made)]

    visits = rows(
        14, **{FROM: some_person, "to": some_person, WHERE: some_place, "at": times, "x": numbers, "word": words}
    )
    return {
        "people": [
            {
                "id": name,
                **draw(
                    st.fixed_dictionaries(
                        {"boss": some_person, "home": some_place, "born": times, "score": numbers, "kind": words}
                    )
                ),
            }
            for name in people
        ],
        "pla.ces": rows(3, size=numbers, kind=words),
        "visits": visits,
        "notes": rows(6, visit=st.one_of(st.none(), st.integers(0, 14)), at=times, y=numbers),
        "marks": rows(4, who=some_person, z=numbers),
    }


TYPES = {
    "id": "Int64", "boss": "string", "home": "Int64", "score": "float64", "kind": "string", "size": "float64",
    FROM: "string", "to": "string", WHERE: "Int64", "x": "float64", "word": "string", "visit": "Int64", "y": "float64",
    "who": "string", "z": "float64",
}  # fmt: skip


def open_rows(tables: dict[str, list[dict[str, Any]]], null_time: str = "drop") -> Database:
    """The rows as a database."""
    meaning = schema(null_time)
    frames = {}
    for name, rows in tables.items():
        frame = pd.DataFrame(rows, columns=[column.name for column in meaning[name].columns])
        for column in frame.columns:
            if column in ("at", "born"):
                frame[column] = pd.to_datetime(frame[column].astype("Int64"), unit="us").astype("datetime64[us]")
            else:
                wanted = "string" if name == "people" and column == "id" else TYPES[column]
                frame[column] = frame[column].astype(wanted)
        frames[name] = frame
    return connect(frames, schema=meaning)


@st.composite
def questions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Labels of people: (key, seed_time, label) once per key and time."""
    keys = st.tuples(st.sampled_from(["p0", "p0", "p1"]), st.integers(0, 8))
    made = draw(st.lists(keys, min_size=1, max_size=8, unique=True))
    return [{"key": key, "seed_time": START + k * 5 * DAY, "label": float(draw(st.integers(0, 3)))} for key, k in made]


@st.composite
def seeds(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """(key, seed_time, input_time); keys repeat, one is unknown, times fall on rows and on the ends of windows."""
    one = st.tuples(st.sampled_from(["p0", "p0", "p1", "p2", "nobody"]), st.integers(0, 14), st.integers(0, 4))
    found = draw(st.lists(one, min_size=1, max_size=5))
    return [(key, START + k * 5 * DAY, START + (k - age) * 5 * DAY) for key, k, age in found]


def make_task(db: Database, labels: list[dict[str, Any]], **kwargs: Any) -> Task:
    """A regression task whose labels are known ten days after their seed time."""
    frame = pd.DataFrame({
        "id": pd.Series([row["key"] for row in labels], dtype="string"),
        "t": pd.to_datetime([row["seed_time"] for row in labels], unit="us"),
        "y": [row["label"] for row in labels],
    })  # fmt: skip
    dates = {"val_timestamp": FAR, "test_timestamp": FAR + DAY}
    return Task.from_labels(
        db, frame, entity_table="people", time_col="t", target_col="y", task_type="regression",
        **{"timedelta": "10 days", **dates, **kwargs},
    )  # fmt: skip
