"""The door of the folder: a plan of features made from the schema, and the features of seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from graphlearn.errors import UsageError, unknown_name
from graphlearn.features.asked import asked_features
from graphlearn.features.candidates import Candidates
from graphlearn.features.columns import Value
from graphlearn.features.functions import Feature
from graphlearn.features.history import label_columns
from graphlearn.features.paths import Hop, Hub, Source, last_hubs, sources, ups
from graphlearn.features.profile import lasting_keys, profile_table, windows
from graphlearn.features.reader import Reader
from graphlearn.features.rows import Floats, Ints
from graphlearn.features.sql import features_sql
from graphlearn.schema.keys import check_unique
from graphlearn.tasks.manifest import TaskType
from graphlearn.tasks.task import Task

if TYPE_CHECKING:
    from graphlearn.schema import Database

MAX_FEATURES = 256
SAMPLE = 10_000
"""Labels that constant, repeated and label-like features are found on."""
_SAME = 0.9999
_MARGIN = 2
"""How many times the budget are looked at, so that it is used up though some are left out."""


@dataclass(frozen=True)
class Origin:
    """Where a feature comes from.

    Attributes:
        table: The table that is read; empty for what depends on the seed's times alone.
        column: The column, or None: the rows themselves. Of label history ``label``.
        function: What is made of it: ``count``, ``mean``, ``last``, …
        window: Only rows of the last so many microseconds before ``input_time``, or None: all.
        path: The foreign keys from the entity to the row that holds the column, such as ``results.driverId``.
        rows: Only the last so many rows, or None.
        history: Whether it is made of past labels.
    """

    table: str
    column: str | None
    function: str
    window: int | None
    path: tuple[str, ...]
    rows: int | None = None
    history: bool = False


@dataclass(frozen=True)
class Features:
    """Features of seeds.

    Attributes:
        names: Of the columns.
        values: float32 ``[N, F]``; NaN is missing.
        categorical: Which columns hold codes of categories; an unknown category is NaN.
        origin: Where each column comes from.
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    categorical: tuple[bool, ...]
    origin: tuple[Origin, ...]


class Aggregates:
    """Which features a task has, and how each is computed. Made by :meth:`plan`.

    A seed ``(entity, seed_time, input_time)`` sees rows with ``time <= input_time`` (windows are
    ``(input_time - w, input_time]``) and labels whose outcome was known by then. Ages and "since last" are counted from
    ``seed_time``; how stale the data are, ``seed_time - input_time``, is a feature of its own. Of tables without a time
    all rows are visible always. Of a task that completes a column, a seed sees its own row's other columns, and of all
    other rows those strictly earlier.

    Attributes:
        task: The task.
        names: Readable names, such as ``results.positionOrder mean 365d``.
        dropped: (name, why) of each feature that was left out.
        features: How each is computed.
    """

    def __init__(
        self,
        task: Task,
        features: Sequence[Feature],
        dropped: Sequence[tuple[str, str]] = (),
        *,
        until: int,
        db: Database | None = None,
    ) -> None:
        self.task, self.features, self.until, self.db = task, tuple(features), until, db
        self.names = tuple(feature.name for feature in self.features)
        self.dropped = tuple((name, why) for name, why in dropped)
        self.categorical = tuple(feature.categorical for feature in self.features)
        self.origin = tuple(_origin(feature) for feature in self.features)

    def __repr__(self) -> str:
        return f"Aggregates({self.task.name!r}, {len(self.names)} features)"

    @classmethod
    def plan(
        cls, db: Database, task: Task, *, max_features: int = MAX_FEATURES, until: int | None = None
    ) -> Aggregates:
        """Chooses features for a task: those of near tables first, all that fit into the budget.

        Left out, and named in :attr:`dropped`, are features that are constant, equal to another or to the label on
        train rows, clocks (columns that go with the time of their rows), and those beyond the budget.

        Args:
            db: The database.
            task: The task.
            max_features: The budget; 0 gives a plan without features.
            until: Rows and train labels up to then are looked at, microseconds UTC; by default the start of validation.

        Raises:
            UsageError: If ``max_features`` is negative.
            SchemaError: If the primary key of a table that is joined is not unique.
        """
        if max_features < 0:
            raise UsageError(f"'max_features' must be >= 0, got {max_features}.")
        until = task.val_time if until is None else until
        if max_features == 0:
            return cls(task, (), until=until, db=db)
        candidates, dropped = _candidates(db, task, until)
        tried = _MARGIN * max_features + 100
        kept, useless = _choose(db, task, candidates[:tried], until)
        over = f"over the budget of {max_features}"
        dropped += useless
        dropped += [(feature.name, over) for feature in (*kept[max_features:], *candidates[tried:])]
        return cls(task, kept[:max_features], dropped, until=until, db=db)

    def open(self, db: Database, *, upto: int | None = None) -> Reader:
        """Reads all rows into memory once, so that later calls take milliseconds; see :class:`Reader`.

        Args:
            db: The database.
            upto: The newest input time that will be asked for; labels of splits that begin later are not read.
        """
        return Reader(db, self.task, self.features, _hidden(self.task), upto=upto, whole=True)

    def compute(
        self,
        db: Database,
        pkey: pa.Array,
        seed_time: Ints,
        input_time: Ints,
        *,
        reader: Reader | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Features:
        """The features of seeds, in their order.

        Args:
            db: The database, which may have grown since the plan was made.
            pkey: Primary keys of entities; may repeat; unknown keys have no history.
            seed_time: When each prediction is for, int64 ``[N]`` microseconds UTC.
            input_time: The newest time that each may see; what is later than ``seed_time`` counts as ``seed_time``.
            reader: From :meth:`open`, to read nothing anew.
            progress: Called with (seeds done, seeds in all).

        Raises:
            UsageError: If the three differ in length.
        """
        seed_time = np.ascontiguousarray(seed_time, dtype=np.int64)
        input_time = np.minimum(np.ascontiguousarray(input_time, dtype=np.int64), seed_time)
        if not len(pkey) == len(seed_time) == len(input_time):
            raise UsageError(
                f"'pkey', 'seed_time' and 'input_time' must be equally long, got {len(pkey)}, {len(seed_time)} and "
                f"{len(input_time)}."
            )
        if reader is not None:
            values = reader.compute(pkey, seed_time, input_time, progress=progress)
        else:
            upto = int(input_time.max(initial=0))
            opened = Reader(db, self.task, self.features, _hidden(self.task), upto=upto)
            try:
                values = opened.compute(pkey, seed_time, input_time, progress=progress)
            finally:
                opened.close()
        return Features(self.names, values, self.categorical, self.origin)

    def sql(self, name: str | None = None, *, db: Database | None = None) -> str:
        """The SELECT that makes the values, of one feature or of all: ``seed`` and a column per feature.

        It runs on the connection of the database and reads, beside its tables, a table ``seeds(seed, pkey, seed_time,
        input_time)``, a number for each seed, its entity and its times in microseconds UTC, and, for label history, the
        table ``labels`` that :meth:`past_labels` gives.

        Args:
            name: Of a feature; by default all.
            db: The database; by default that of the plan.

        Raises:
            UnknownNameError: If there is no such feature.
            UsageError: If the plan was read without a database.
        """
        db = db or self.db
        if db is None:
            raise UsageError("this plan was read without a database, whose schema its SQL depends on: pass 'db'.")
        if name is not None and name not in self.names:
            raise unknown_name("feature", name, self.names)
        chosen = [feature for feature in self.features if name is None or feature.name == name]
        return features_sql(db, self.task, chosen, _hidden(self.task))

    def past_labels(self, db: Database, *, upto: int | None = None) -> pa.Table:
        """The past labels that label history is made of: ``key``, ``seed_time``, ``known`` (since when), the label.

        Args:
            db: The database.
            upto: Labels of splits that begin later, microseconds UTC, are not read.
        """
        reader = Reader(db, self.task, self.features, _hidden(self.task), upto=upto)
        try:
            return reader.labels()
        finally:
            reader.close()

    def to_dict(self) -> dict[str, Any]:
        """Plain values that survive JSON exactly; all that is needed to compute the features of a database."""
        return {
            "until": self.until,
            "features": [asdict(feature) for feature in self.features],
            "dropped": [list(pair) for pair in self.dropped],
        }

    @classmethod
    def from_dict(cls, db: Database | None, task: Task, values: Mapping[str, Any]) -> Aggregates:
        """The inverse of :meth:`to_dict`. ``db``, if given, must have the tables and columns that are read.

        Raises:
            UnknownNameError: If it lacks one.
        """
        features = [_feature(feature) for feature in values["features"]]
        if db is not None:
            for feature in features:
                _check_there(db, feature)
        dropped = [(name, why) for name, why in values["dropped"]]
        return cls(task, features, dropped, until=values["until"], db=db)


def _hidden(task: Task) -> frozenset[tuple[str, str]]:
    return frozenset((table, column) for table, column in task.remove_columns)


def _candidates(db: Database, task: Task, until: int) -> tuple[list[Feature], list[tuple[str, str]]]:
    schema, entity, hidden = db.schema, task.entity_table, _hidden(task)
    lasting = lasting_keys(db, entity, until, hidden)
    found = sources(schema, entity, hidden, lasting)
    tables = dict.fromkeys(source.table for source in found)
    reached: dict[str, None] = {}
    for table in tables:
        reached |= dict.fromkeys(chain[-1].table for chain in ups(schema, table, 2, hidden))
    for table in {*reached, entity}:
        if schema[table].pkey:
            check_unique(db, schema[table])
    profiles = {name: profile_table(db, schema[name], until, hidden) for name in {**tables, **reached}}
    children = [
        source
        for source in found
        if source.hub.kind == "entity" and len(source.path) == 1 and schema[source.table].time_col is not None
    ]
    spans = windows(db, children, task.timedelta, until)
    me = Hub("entity", entity)
    hubs = [me, *last_hubs(schema, entity, hidden, lasting), Hub("all")]
    hubs += [Hub("parent", chain[-1].table, chain) for chain in ups(schema, entity, 1, hidden)]
    labels = [Source(hub, entity, labels=True) for hub in hubs]
    asked = asked_features(db, task.query, task.timedelta, spans)
    made = Candidates(schema, profiles, spans, task.timedelta, hidden).all(found, labels, label_columns(task), asked)
    clocks = [
        (f"{table}.{profile.column.name}", "a clock: it goes with the time of its rows")
        for table, columns in profiles.items()
        for profile in columns
        if profile.clock
    ]
    return made, clocks


def _choose(
    db: Database, task: Task, features: Sequence[Feature], until: int
) -> tuple[list[Feature], list[tuple[str, str]]]:
    """Features that say something on the train labels up to a time, and (name, why) of the others."""
    labels = task.label_table("train")
    if pc.min(labels["seed_time"]).as_py() <= until:
        labels = labels.filter(pc.less_equal(labels["seed_time"], until))
    if labels.num_rows > SAMPLE:
        labels = labels.take(np.linspace(0, labels.num_rows - 1, SAMPLE).astype(np.int64))
    numbers = np.asarray(task.encode(labels)[0]) if task.task_type != TaskType.RECOMMENDATION else np.empty((0, 0))
    numbers = numbers.reshape(len(numbers), -1).astype(np.float64)
    seed_time = labels["seed_time"].to_numpy()
    input_time = np.minimum(seed_time, until)
    reader = Reader(db, task, features, _hidden(task), upto=int(input_time.max(initial=0)))
    try:
        values = reader.compute(labels["pkey"].combine_chunks(), seed_time, input_time)
    finally:
        reader.close()
    seen: dict[bytes, str] = {}
    kept, dropped = [], []
    for i, feature in enumerate(features):
        # Train rows may get ages later, so that their staleness says something then.
        why = None if feature.function == "staleness" else _complaint(feature.name, values[:, i], numbers, seen)
        if why is None:
            kept.append(feature)
        else:
            dropped.append((feature.name, why))
    return kept, dropped


def _complaint(name: str, values: npt.NDArray[np.float32], labels: Floats, seen: dict[bytes, str]) -> str | None:
    known = ~np.isnan(values)
    if not known.any():
        return "never known on train rows"
    if known.all() and (values == values[0]).all():
        return f"constant: {values[0]:g} on all train rows"
    x = values.astype(np.float64)
    if any(_is_copy(x, labels[:, column], known) for column in range(labels.shape[1])):
        return "a copy of the label"
    digest = hashlib.sha256(np.where(known, values + np.float32(0), np.float32(np.nan)).tobytes()).digest()
    other = seen.setdefault(digest, name)
    return None if other == name else f"equal to {other}"


def _is_copy(x: Floats, label: Floats, known: npt.NDArray[np.bool_]) -> bool:
    both = known & ~np.isnan(label)
    if both.sum() < max(10, 0.5 * len(label)):
        return False
    a, b = x[both] - x[both].mean(), label[both] - label[both].mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return scale > 0 and abs(float((a * b).sum())) >= _SAME * scale


def _origin(feature: Feature) -> Origin:
    source, value = feature.source, feature.value
    if source is None:
        return Origin("", None, feature.function, None, ())
    via = () if value is None else value.via
    path = []
    at = source.table
    steps = [*source.hub.path, *source.path, *via]
    place = ""
    for hop in steps:
        path.append(f"{hop.table}.{hop.key}" if hop.down else f"{place}.{hop.key}".lstrip("."))
        place = hop.table
    table = via[-1].table if via else at
    column = None if value is None or value.kind == "key" else value.column
    return Origin(table, column, feature.function, feature.window, tuple(path), feature.rows, source.labels)


def _hops(values: Sequence[Mapping[str, Any]]) -> tuple[Hop, ...]:
    return tuple(Hop(**hop) for hop in values)


def _feature(values: Mapping[str, Any]) -> Feature:
    source, value = values["source"], values["value"]
    if source is not None:
        hub = Hub(source["hub"]["kind"], source["hub"]["table"], _hops(source["hub"]["path"]))
        source = Source(hub, source["table"], _hops(source["path"]), source["labels"])
    if value is not None:
        value = Value(**{**value, "via": _hops(value["via"]), "vocabulary": tuple(value["vocabulary"])})
    return Feature(values["name"], values["function"], source, value, values["window"], values["rows"])


def _check_there(db: Database, feature: Feature) -> None:
    source, value = feature.source, feature.value
    if source is None:
        return
    for hop in (*source.hub.path, *source.path):
        db.schema[hop.table]
    table = db.schema[source.table if value is None or not value.via else value.via[-1].table]
    if value is not None and value.column and value.kind != "asked" and not source.labels:
        table.column(value.column)
