"""Which tables, columns and windows of time a whole run relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError, UsageError
from graphlearn.graph.rows import CONSTANT
from graphlearn.models import Ensemble, RelationalModel
from graphlearn.models.occlusion import columns_of, copies, keep_all, with_column
from graphlearn.predict.run import Run, check_split
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.schema import Database
from graphlearn.training.scoring import forward, seed_known
from graphlearn.training.seeds import Seeds, split_seeds
from graphlearn.typing import NodeType

ROWS = "(rows)"
"""Stands for a column: how many rows there are and when, whatever they hold."""
OWN_ROW = "own row"
"""The window of the entity's own row."""
UNDATED = "no time"
"""The window of rows without a time."""
_PERIODS = (1, 4, 16)
_DAY = 86_400_000_000
_SMALL = 0.01

Progress = Callable[[int, int], None]


def importance(
    run: Run,
    db: Database | None = None,
    *,
    split: str = "val",
    rows: int = 200,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """How much each table, column and window of time moves the predictions of a split.

    Of the model that reads rows, in a sample of predictions: the cells of a column are exchanged among all rows of a
    window (shuffled, always in the same way), and the effect is the mean change of the prediction. What the rows
    say by being there, how many and when, is by how much more taking them away changes the prediction than exchanging
    all of their cells does; it stands under the column :data:`ROWS`. Windows follow the label window of the task: 1, 4
    and 16 times its length.

    Args:
        run: The run.
        db: The database; by default the one that the run was trained on.
        split: ``train``, ``val`` or ``test``; no label is looked at.
        rows: Predictions in the sample, > 0, evenly spread over the split.
        progress: Called with (passes done, passes in all).

    Returns:
        table, column, window, ``share`` of the sum of all effects, and ``effect`` in the unit of the prediction;
        the greatest first. Sum over what is not asked for: ``groupby("table")["share"].sum()``.

    Raises:
        UsageError: If ``rows`` is not above 0.
        UnknownNameError: If there is no such split.
        TaskError: If the split has no rows.
    """
    check_split(split)
    if rows < 1:
        raise UsageError(f"'rows' must be > 0, got {rows}.")
    with run.reading(db) as read:
        task = run.labelled_task(read)
        graph = run.graph(read)
        seeds = split_seeds(graph, task, split, run.regime).spread(rows)
        if not len(seeds):
            raise TaskError(f"task '{task.name}': the {split} split is empty, so there are no predictions to look at.")
        graph, seeds = graph.to(run.device), seeds.to(torch.device(run.device))
        table = pd.DataFrame(list(_effects(run.model, graph, seeds, run.model_config.period, progress)))
    return ranked(table)


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Effects with their shares, the greatest first."""
    total = table["effect"].sum()
    table = table.assign(share=table["effect"] / total if total > 0 else 0.0)
    order = table.sort_values(["share", "table", "column", "window"], ascending=[False, True, True, True])
    return order[["table", "column", "window", "share", "effect"]].reset_index(drop=True)


@dataclass(frozen=True)
class _Copies:
    """A batch in which no two nodes share a row, so that the rows of one seed can be exchanged alone."""

    batch: HeteroData
    rows: dict[NodeType, TensorFrame]
    window: dict[NodeType, Tensor]


def _effects(
    model: RelationalModel | Ensemble, graph: HeteroData, seeds: Seeds, period: int, progress: Progress | None
) -> Iterator[dict[str, object]]:
    seen = _spread_out(model, graph, seeds, period)
    names = window_names(period)
    keep = keep_all(seen.batch)
    model.eval()

    def score(keep: dict[NodeType, Tensor], rows: dict[NodeType, TensorFrame]) -> Tensor:
        with torch.inference_mode():
            value = model.head.unbounded(forward(model, graph, copies(seen.batch, keep), rows=rows))
        return value.view(len(seeds), -1)

    base = score(keep, seen.rows)

    def change(a: Tensor, b: Tensor) -> float:
        return float((a - b).abs().mean())

    # First what all cells of each window do together: where that is next to nothing, its columns are not tried.
    places = [(name, w) for name in graph.node_types for w in sorted(set(seen.window[name].tolist()))]
    together: dict[tuple[NodeType, int], float] = {}
    for name, window in places:
        inside = seen.window[name] == window
        exchanged = score(keep, {**seen.rows, name: seen.rows[name][_shuffled(inside)]})
        together[name, window] = change(base, exchanged)
        if window != 0:
            gone = change(base, score({**keep, name: keep[name] & ~inside}, seen.rows))
            effect = max(gone - together[name, window], 0.0)
            yield {"table": name, "column": ROWS, "window": names[window], "effect": effect}
    least = _SMALL * max(together.values(), default=0.0)
    tried = [(name, window) for name, window in places if together[name, window] > least]
    total = sum(len(columns_of(seen.rows[name])) for name, _ in tried)
    done = 0
    for name, window in tried:
        own = seen.rows[name]
        other = own[_shuffled(seen.window[name] == window)]
        for kind, position, column in columns_of(own):
            if column != CONSTANT:
                changed = {**seen.rows, name: with_column(own, other, kind, position)}
                effect = change(base, score(keep, changed))
                yield {"table": name, "column": column, "window": names[window], "effect": effect}
            done += 1
            if progress is not None:
                progress(done, total)


def _spread_out(model: RelationalModel | Ensemble, graph: HeteroData, seeds: Seeds, period: int) -> _Copies:
    """Windows: 0 the seeds' own rows, 1 without a time, then by age."""
    sampler = TemporalNeighborSampler(graph, model.fan_out, strategy="last")
    batch = sampler.sample(seeds.node_type, seeds.index, seeds.input_time, seed_time=seeds.seed_time)
    batch.seed_known = seed_known(graph, seeds)
    bounds = torch.tensor([step * period for step in _PERIODS], device=seeds.index.device)
    rows, windows = {}, {}
    for name in graph.node_types:
        store, nodes = graph[name], batch[name]
        rows[name] = store.tf[nodes.n_id]
        window = torch.ones_like(nodes.n_id)
        if "time" in store:
            age = batch.seed_time[nodes.batch] - store.time[nodes.n_id]
            window = torch.where(nodes.n_id < store.num_undated, window, torch.bucketize(age, bounds) + 2)
        if name == batch.seed_type:
            window[: len(seeds)] = 0
        windows[name] = window
        nodes.rows, nodes.inverse = nodes.n_id, torch.arange(nodes.n_id.numel(), device=nodes.n_id.device)
    return _Copies(batch, rows, windows)


def _shuffled(inside: Tensor) -> Tensor:
    """The numbers of all rows, those ``inside`` in another order."""
    order = torch.arange(inside.numel(), device=inside.device)
    found = inside.nonzero().flatten()
    chance = torch.randperm(found.numel(), generator=torch.Generator().manual_seed(0)).to(found.device)
    order[found] = found[chance]
    return order


def window_names(period: int) -> list[str]:
    """The windows in words, in the order of their numbers."""
    days = [f"{step * period / _DAY:g}" for step in _PERIODS]
    spans = [f"{low}-{high} days" for low, high in zip(["0", *days[:-1]], days, strict=True)]
    return [OWN_ROW, UNDATED, *spans, f"over {days[-1]} days"]
