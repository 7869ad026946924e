"""The same features as plain SQL, to read, to check, and to run where the data are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphlearn.database import quote
from graphlearn.features.asked import asked_sql
from graphlearn.features.columns import Value, rows_sql
from graphlearn.features.functions import DAY, Feature
from graphlearn.features.paths import Hub, Source
from graphlearn.features.reader import hub_key

if TYPE_CHECKING:
    from graphlearn.schema import Database
    from graphlearn.tasks.task import Task

SEEDS = "seeds"
"""``seeds(seed, pkey, seed_time, input_time)``: a number for each seed, its entity, two times in microseconds UTC."""
PAST_LABELS = "labels"
"""What :meth:`Aggregates.past_labels` gives."""


def features_sql(db: Database, task: Task, features: Sequence[Feature], hidden: frozenset[tuple[str, str]]) -> str:
    """One SELECT that gives ``seed`` and a column per feature, in the order of seeds.

    It reads the tables of the source, :data:`SEEDS`, and :data:`PAST_LABELS` where there is label history.
    """
    by_source: dict[Source | None, list[Feature]] = {}
    for feature in features:
        by_source.setdefault(feature.source, []).append(feature)
    tables, joins = [], []
    for i, (source, members) in enumerate(by_source.items()):
        made = _of_seed(members) if source is None else _of_source(db, task, source, members, hidden)
        tables.append(f"part_{i} AS (\n{_indented(made)}\n)")
        joins.append(f"JOIN part_{i} USING (seed)")
    shown = ", ".join(quote(feature.name) for feature in features)
    head = "WITH " + ",\n".join(tables) + "\n" if tables else ""
    return f"{head}SELECT seed{', ' if shown else ''}{shown}\nFROM {SEEDS}\n" + "\n".join([*joins, "ORDER BY seed"])


def _of_seed(features: list[Feature]) -> str:
    made = {
        "staleness": f"(seed_time - input_time) / {DAY}",
        "month": "month(make_timestamp(seed_time))",
        "weekday": "isodow(make_timestamp(seed_time)) - 1",
        "hour": "hour(make_timestamp(seed_time))",
    }
    shown = ", ".join(f"{made[feature.function]} AS {quote(feature.name)}" for feature in features)
    return f"SELECT seed, {shown}\nFROM {SEEDS}"


def _of_source(
    db: Database, task: Task, source: Source, features: list[Feature], hidden: frozenset[tuple[str, str]]
) -> str:
    values = list(dict.fromkeys(feature.value for feature in features if feature.value is not None))
    asked = asked_sql(db, task.query) if any(value.kind == "asked" for value in values) else None
    rows = rows_sql(db, source, values, hidden, keys=None, labels=PAST_LABELS, asked=asked)
    hubs = _hubs(db, task, source.hub, hidden)
    if source.is_own:
        shown = ", ".join(_own(feature, values, task) for feature in features)
        return f"SELECT s.seed, {shown}\nFROM {hubs} AS s\nLEFT JOIN (\n{_indented(rows)}\n) AS r ON r.key = s.hub"
    upto = "<" if task.completes and not source.labels else "<="
    shown = ",\n  ".join(f"{_aggregate(feature, values)} AS {quote(feature.name)}" for feature in features)
    order = "PARTITION BY s.seed ORDER BY r.time {0}, r.tie {0}"
    return (
        f"SELECT s.seed,\n  {shown}\nFROM {SEEDS} AS s\nLEFT JOIN (\n"
        f"  SELECT s.seed, s.input_time, r.*,\n"
        f"    row_number() OVER ({order.format('DESC')}) AS back, row_number() OVER ({order.format('ASC')}) AS front\n"
        f"  FROM {hubs} AS s\n"
        f"  JOIN (\n{_indented(_indented(rows))}\n  ) AS r ON r.key = s.hub AND r.time {upto} s.input_time\n"
        f") AS r ON r.seed = s.seed\nGROUP BY s.seed, s.seed_time"
    )


def _hubs(db: Database, task: Task, hub: Hub, hidden: frozenset[tuple[str, str]]) -> str:
    """``seeds`` with the key of each seed's hub."""
    if hub.kind in ("entity", "all"):
        return f"(SELECT *, {'pkey' if hub.kind == 'entity' else '0'} AS hub FROM {SEEDS})"
    source, value = hub_key(Hub("entity", task.entity_table), hub)
    rows = _indented(rows_sql(db, source, [value], hidden, keys=None))
    if source.is_own:
        known = "" if task.completes and len(value.via) == 1 else " AND r.known_0 <= s.input_time"
        return (
            f"(\n  SELECT s.*, r.v0 AS hub FROM {SEEDS} AS s\n  LEFT JOIN (\n{rows}\n) AS r ON r.key = s.pkey{known})"
        )
    upto = "<" if task.completes else "<="
    return (
        f"(\n  SELECT s.*, newest.hub FROM {SEEDS} AS s LEFT JOIN (\n"
        f"  SELECT s.seed, arg_max(r.v0, row(r.time, r.tie)) FILTER (r.v0 IS NOT NULL) AS hub FROM {SEEDS} AS s\n"
        f"  JOIN (\n{rows}\n) AS r ON r.key = s.pkey AND r.time {upto} s.input_time\n"
        f"  GROUP BY s.seed) AS newest USING (seed))"
    )


def _own(feature: Feature, values: list[Value], task: Task) -> str:
    assert feature.value is not None
    i = values.index(feature.value)
    made = f"(s.seed_time - r.v{i}) / {DAY}" if feature.function == "age" else f"r.v{i}"
    if not (task.completes and not feature.value.via):
        made = f"CASE WHEN r.known_{i} <= s.input_time THEN {made} END"
    return f"{made} AS {quote(feature.name)}"


def _aggregate(feature: Feature, values: list[Value]) -> str:
    value = "" if feature.value is None else f"r.v{values.index(feature.value)}"
    conditions = []
    if feature.window is not None:
        conditions.append(f"r.time > r.input_time - {feature.window}")
    if feature.rows is not None:
        conditions.append(f"r.back <= {feature.rows}")
    where = f" FILTER ({' AND '.join(conditions)})" if conditions else ""
    last, first = (f"max({value}) FILTER (r.{rank} = 1)" for rank in ("back", "front"))
    modes = [
        f"count(*) FILTER ({value} = {code})" for code in range(len(feature.value.vocabulary if feature.value else ()))
    ]
    counts = f"[{', '.join(modes)}]"
    count, span = f"count(r.time){where}", f"(max(r.time){where} - min(r.time){where})"
    return {
        "count": count,
        "sum": f"sum({value}){where}",
        "mean": f"avg({value}){where}",
        "std": f"CASE WHEN count({value}){where} > 1 THEN stddev_pop({value}){where} END",
        "min": f"min({value}){where}",
        "max": f"max({value}){where}",
        "last": last,
        "first": first,
        "age": f"(s.seed_time - {last}) / {DAY}",
        "since last": f"(s.seed_time - max(r.time){where}) / {DAY}",
        "since first": f"(s.seed_time - min(r.time){where}) / {DAY}",
        "gap": f"{span} / {DAY} / nullif({count} - 1, 0)",
        "trend": f"avg({value}){where} - avg({value})",
        "distinct": f"count(DISTINCT {value}){where}",
        "mode": f"CASE WHEN list_max({counts}) > 0 THEN list_position({counts}, list_max({counts})) - 1 END",
    }[feature.function]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
