"""What a run may see, looked at from outside: real batches, the statistics, and predictions without the future."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError, first_three
from graphlearn.graph import Statistics, fit_statistics
from graphlearn.predict.finding import AuditFinding
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.schema import Database
from graphlearn.schema.keys import rows_of, time_sql
from graphlearn.schema.until import rows_until
from graphlearn.tasks import Task
from graphlearn.tasks.times import time_text
from graphlearn.training.scoring import seed_known, seed_loader
from graphlearn.training.seeds import Seeds

if TYPE_CHECKING:
    from graphlearn.predict.run import Run

MOST_SEEDS = 20_000
"""Rows of a split beyond which an even sample of them is looked at."""
_ENTITIES = 300
_CLOSE = 1e-4  # batches of other rows change the order of sums, and with it the last digits of a float32


def inputs(run: Run, graph: HeteroData, task: Task, splits: dict[str, Seeds]) -> AuditFinding:
    """Looks at every row of the batches that the model is given for validation and test.

    The limit of each seed is worked out here once more, from the task and the regime, and not taken from the seeds.
    """
    fan_out: Any = getattr(run.model, "fan_out", None)
    newest: dict[str, dict[str, int]] = {}
    late: dict[str, int] = {}
    for split in ("val", "test"):
        if split not in splits:
            continue
        seeds = splits[split].spread(MOST_SEEDS)
        cut = task.cut(split, run.regime)
        limit = seeds.seed_time if cut is None else seeds.seed_time.clamp_max(cut)
        looked, newer = _count_newer(graph, seeds, limit, fan_out)
        newest[split] = {"seeds": len(seeds), "rows": looked, "newer": sum(newer.values())}
        late |= {table: late.get(table, 0) + count for table, count in newer.items() if count}
    numbers = {"splits": newest, "newer_by_table": late}
    if not newest:
        return AuditFinding("inputs", "warn", "Neither validation nor test has labels, so no batch was looked at.")
    rows, seeds_in_all = (sum(found[key] for found in newest.values()) for key in ("rows", "seeds"))
    where = " and ".join(newest)
    if late:
        tables = first_three([f"'{table}' {count:,}" for table, count in late.items()])
        return AuditFinding(
            "inputs", "fail",
            f"{sum(late.values()):,} of {rows:,} rows in the batches of {where} are newer than they may be ({tables}).",
            numbers, "Do not use this run: its metrics are too good. Please report it, with the manifest.",
        )  # fmt: skip
    seen = f"{rows:,} rows in the batches of {seeds_in_all:,} seeds of {where}"
    if fan_out is None:
        seen = f"{seeds_in_all:,} rows of {where} (this kind of model samples no batches)"
    return AuditFinding(
        "inputs", "ok", f"None of the {seen} is newer than it may be in the {run.regime} regime.", numbers
    )


def future_rows(run: Run, db: Database, task: Task, labels: dict[str, pa.Table]) -> AuditFinding:
    """Predicts with and without the rows that come later than the time to predict at: nothing may change."""
    check = "future rows"
    split = next((name for name in ("test", "val") if name in labels), None)
    if task.completes:
        what = "Not checked: each row is predicted at its own time, so there is no one time to take the future away at."
        return AuditFinding(check, "ok", what)
    if split is None:
        return AuditFinding(check, "warn", "Not checked: neither validation nor test has labels.")
    table = labels[split]
    times = table["seed_time"].to_numpy()
    anchor = int(times.min())
    keys = table["pkey"].filter(pa.array(times == anchor)).to_pylist()[:_ENTITIES]
    at = _moment_after(db, anchor)
    with_all = run.predict(db, at=at, entities=keys)
    # Stored labels, as far as they are features, name entities that come later: then the entity table stays whole.
    of = ""
    try:
        with rows_until(db, at) as earlier:
            without = run.predict(earlier, at=at, entities=keys)
    except TaskError:
        of = f" of all tables but '{task.entity_table}', which the stored labels need,"
        with rows_until(db, at, whole=[task.entity_table]) as earlier:
            without = run.predict(earlier, at=at, entities=keys)
    both = with_all.merge(without, on=["pkey", "seed_time"], suffixes=("", " then"), validate="one_to_one")
    columns = list(with_all.select_dtypes("number").columns.drop(["pkey", "seed_time"], errors="ignore"))
    differ = [float((both[c] - both[f"{c} then"]).abs().max()) for c in columns] if len(both) else [0.0]
    scale = max((float(both[c].abs().max()) for c in columns), default=0.0)
    largest = max(differ)
    numbers = {"at": time_text(at), "entities": len(both), "largest_difference": largest}
    if largest > _CLOSE * scale or len(both) < len(with_all):
        return AuditFinding(
            check, "fail",
            f"Taking away all rows{of} later than {time_text(at)} changes predictions for then by up to {largest:.3g}.",
            numbers, "Something reads the future: look at tables without a time column first (graphlearn check).",
        )  # fmt: skip
    what = f"Taking away all rows{of} later than {time_text(at)} changes none of {len(both):,} predictions for then."
    return AuditFinding(check, "ok", what, numbers)


def statistics(run: Run, db: Database, task: Task) -> AuditFinding:
    """Until when means, vocabularies and features were fitted, and whether the rows up to then bear them out."""
    until = run.statistics.fit_until
    plans = {"Means and vocabularies": until}
    if run.aggregates is not None:
        plans["The choice of features"] = run.aggregates.until
    for what, last in plans.items():
        if last is None or last > task.val_time:
            known = "all rows" if last is None else f"rows until {time_text(last)}"
            text = f"{what} came from {known}, past the start of validation {time_text(task.val_time)}."
            return AuditFinding("statistics", "fail", text, {"fit_until": last}, "Train again.")
    assert until is not None
    again = fit_statistics(db, fit_until=until, hidden=task.remove_columns)
    unknown, others = _unlike(run.statistics, again)
    numbers = {"fit_until": until, "unknown_categories": unknown, "differing_columns": others}
    if unknown:
        what = (
            f"The vocabularies know {len(unknown):,} categories that no row until {time_text(until)} has "
            f"(first: {first_three(unknown)})."
        )
        return AuditFinding("statistics", "fail", what, numbers, "They come from later rows, or the data were changed.")
    if others:
        what = f"Rows until {time_text(until)} give other statistics now (first: {first_three(others)})."
        return AuditFinding("statistics", "warn", what, numbers, "Old rows were changed since the training.")
    fitted = " and ".join(plans).replace(" The", " the").replace("vocabularies and", "vocabularies, and")
    what = f"{fitted} came from rows until {time_text(until)}, where validation starts."
    return AuditFinding("statistics", "ok", what, numbers)


def source(run: Run, db: Database) -> AuditFinding:
    """Whether the database is the one of the training."""
    same = db.fingerprint() == run.meta["fingerprint"]
    numbers = {"same": same, "fingerprint": run.meta["fingerprint"]}
    if same:
        return AuditFinding("source", "ok", "Every value in the database is as it was in the training.", numbers)
    what = "The database is not as it was in the training."
    return AuditFinding("source", "warn", what, numbers, "What follows is about the database as it is now.")


def _moment_after(db: Database, anchor: int) -> int:
    """The first time after ``anchor`` by when every table that goes on has a new row.

    A label is known once its window has ended and something happened after that. Taking the future away at the anchor
    itself would leave it open whether the windows that end there were over, and past labels are features.
    """
    timed = [(table, time) for table in db.schema.tables.values() if (time := time_sql(table)) is not None]
    found = [
        db.rows(f"SELECT min({time}) FROM {rows_of(table.name)} AS t WHERE {time} > {anchor}")[0][0]
        for table, time in timed
    ]
    return max([anchor, *(int(us) for us in found if us is not None)])


def _count_newer(graph: HeteroData, seeds: Seeds, limit: Tensor, fan_out: Any) -> tuple[int, dict[str, int]]:
    """How many rows the seeds see, and per table how many of them are newer than the seed's ``limit``."""
    entity = seeds.node_type
    newer = {name: 0 for name in graph.node_types if "time" in graph[name]}
    looked = len(seeds)
    if "time" in graph[entity] and not seeds.own_row:
        store = graph[entity]
        late = (seeds.index >= store.num_undated) & (store.time[seeds.index] > limit)
        newer[entity] += int((late & seed_known(graph, seeds)).sum())
    if fan_out is None:
        newer[entity] = newer.get(entity, 0) + int((seeds.input_time > limit).sum())
        return looked, newer
    sampler = TemporalNeighborSampler(graph, fan_out, strategy="last")
    start = 0
    for batch in seed_loader(graph, sampler, seeds, batch_size=1024):
        for name in graph.node_types:
            own = batch[name].num_sampled_nodes[0] if name == entity else 0  # judged above
            rows, of_seed = batch[name].n_id[own:], batch[name].batch[own:]
            looked += rows.numel()
            if name in newer:
                dated = rows >= graph[name].num_undated
                newer[name] += int((dated & (graph[name].time[rows] > limit[start + of_seed])).sum())
        start += len(batch.seed_time)
    return looked, newer


def _unlike(trained: Statistics, again: Statistics) -> tuple[list[str], list[str]]:
    """Categories that only ``trained`` knows, and columns whose numbers differ by more than rounding."""
    unknown, others = [], []
    for table, columns in trained.tables.items():
        now = {column.name: column for column in again.tables.get(table, ())}
        for column in columns:
            name = f"{table}.{column.name}"
            if column.name not in now:
                others.append(name)
                continue
            more = set(column.vocabulary) - set(now[column.name].vocabulary)
            unknown += [f"{name} = {value}" for value in sorted(more)]
            same = np.allclose([column.mean, column.std], [now[column.name].mean, now[column.name].std], rtol=1e-4)
            if not more and (not same or column.counts != now[column.name].counts):
                others.append(name)
    return unknown, others
