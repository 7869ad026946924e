"""Which tables, columns and windows of time a whole run relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError, UsageError
from graphlearn.features import Features, Origin
from graphlearn.graph.rows import CONSTANT
from graphlearn.models import Ensemble, RelationalModel
from graphlearn.models.occlusion import columns_of, copies, keep_all, with_column
from graphlearn.predict.explain_features import tree_effects
from graphlearn.predict.run import Run, check_split, check_values
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.training.scoring import forward, seed_known
from graphlearn.training.seeds import Seeds, split_seeds, with_features
from graphlearn.typing import NodeType

ROWS = "(rows)"
"""Stands for a column: how many rows there are and when, whatever they hold."""
OWN_ROW = "own row"
"""The window of the entity's own row."""
TIME = "(time)"
"""Stands for a column: when the prediction is for, and how old what is known is."""
PAST_LABELS = "(past labels)"
"""Stands for a column: what was the outcome before."""
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

    Of trees the mean of the absolute effects of each feature (:func:`tree_effects`), under the table, column and window
    that it is made from; of a network's features the mean change when those of one such place are exchanged among the
    predictions. Where a network and trees predict together, the effects of each count as much as it does.

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
        UsageError: If ``rows`` is not above 0, or the run ranks.
        UnknownNameError: If there is no such split.
        TaskError: If the split has no rows.
    """
    check_values(run.task, "explain")
    check_split(split)
    if rows < 1:
        raise UsageError(f"'rows' must be > 0, got {rows}.")
    with run.reading(db) as read:
        task = run.labelled_task(read)
        graph = run.graph(read)
        seeds = split_seeds(graph, task, split, run.regime).spread(rows)
        if not len(seeds):
            raise TaskError(f"task '{task.name}': the {split} split is empty, so there are no predictions to look at.")
        values: Features | None = None
        if run.aggregates is not None:
            pkey = graph[task.entity_table].pkey.take(pa.array(seeds.index.numpy()))
            times = seeds.seed_time.numpy(), seeds.input_time.numpy()
            values = run.features(read).compute(read, pkey, *times)
            seeds = with_features(seeds, values.values, run.network_aggregates)
        found = []
        if run.model is not None:
            network = _Network(
                run.model, graph.to(run.device), seeds.to(torch.device(run.device)), run.model_config.period
            )
            share = run.weights["gnn"]
            read_by = None if run.network_aggregates is None else values
            found += [{**row, "effect": share * row["effect"]} for row in network.effects(read_by, progress)]
        if run.trees is not None and values is not None:
            found += _of_trees(run, task, values)
    return ranked(pd.DataFrame(found, columns=["table", "column", "window", "effect"]))


def ranked(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects with their shares, the greatest first; those of one place in one row."""
    names = ["table", "column", "window"]
    summed = pd.DataFrame(effects.groupby(names)["effect"].sum().reset_index())
    total = summed["effect"].sum()
    summed["share"] = summed["effect"] / total if total > 0 else 0.0
    order = summed.sort_values(["share", *names], ascending=[False, True, True, True])
    return order[[*names, "share", "effect"]].reset_index(drop=True)


def place_of(origin: Origin, entity_table: str) -> tuple[str, str, str]:
    """Table, column and window of a feature, in words."""
    if not origin.table:
        return entity_table, TIME, OWN_ROW
    column = PAST_LABELS if origin.history else ROWS if origin.column is None else origin.column
    if origin.table == entity_table and not origin.path and not origin.history:
        return origin.table, column, OWN_ROW
    if origin.window is not None:
        return origin.table, column, f"last {origin.window / _DAY:g} days"
    return origin.table, column, "all time" if origin.rows is None else f"last {origin.rows} rows"


def _of_trees(run: Run, task: Task, features: Features) -> list[dict[str, Any]]:
    assert run.trees is not None
    outputs = range(task.num_outputs) if "multi" in str(task.task_type.value) else [None]
    total = [np.abs(tree_effects(run.trees, features.values, output)[1]).mean(axis=0) for output in outputs]
    mean = run.weights["gbdt"] * np.mean(total, axis=0)
    places = [place_of(origin, task.entity_table) for origin in features.origin]
    return [
        {"table": table, "column": column, "window": window, "effect": float(effect)}
        for (table, column, window), effect in zip(places, mean, strict=True)
        if effect > 0
    ]


class _Network:
    """A batch of the sample in which no two nodes share a row, so that the rows of one seed can be exchanged alone.

    Args:
        model: The network.
        graph: On its device, as the seeds are.
        seeds: The sample, with features if the network takes any.
        period: Length of the label window.
    """

    def __init__(self, model: RelationalModel | Ensemble, graph: HeteroData, seeds: Seeds, period: int) -> None:
        self.model, self.graph, self.seeds = model, graph, seeds
        self.names = window_names(period)
        sampler = TemporalNeighborSampler(graph, model.fan_out, strategy="last")
        batch = sampler.sample(seeds.node_type, seeds.index, seeds.input_time, seed_time=seeds.seed_time)
        batch.seed_known = seed_known(graph, seeds)
        if seeds.features is not None:
            batch.features = seeds.features
        bounds = torch.tensor([step * period for step in _PERIODS], device=seeds.index.device)
        self.rows: dict[NodeType, TensorFrame] = {}
        self.window: dict[NodeType, Tensor] = {}  # 0 the seeds' own rows, 1 without a time, then by age
        for name in graph.node_types:
            store, nodes = graph[name], batch[name]
            self.rows[name] = store.tf[nodes.n_id]
            window = torch.ones_like(nodes.n_id)
            if "time" in store:
                age = batch.seed_time[nodes.batch] - store.time[nodes.n_id]
                window = torch.where(nodes.n_id < store.num_undated, window, torch.bucketize(age, bounds) + 2)
            if name == batch.seed_type:
                window[: len(seeds)] = 0
            self.window[name] = window
            nodes.rows, nodes.inverse = nodes.n_id, torch.arange(nodes.n_id.numel(), device=nodes.n_id.device)
        self.batch, self.keep = batch, keep_all(batch)
        model.eval()
        self.base = self._score()

    def effects(self, features: Features | None, progress: Progress | None) -> Iterator[dict[str, Any]]:
        """The mean change of the prediction by table, column and window."""
        # First what all cells of each window do together: where that is next to nothing, its columns are not tried.
        places = [(name, w) for name in self.rows for w in sorted(set(self.window[name].tolist()))]
        together: dict[tuple[NodeType, int], float] = {}
        for name, window in places:
            inside = self.window[name] == window
            together[name, window] = self._change(rows={name: self.rows[name][_shuffled(inside)]})
            if window != 0:
                gone = self._change(keep={name: self.keep[name] & ~inside})
                effect = max(gone - together[name, window], 0.0)
                yield {"table": name, "column": ROWS, "window": self.names[window], "effect": effect}
        least = _SMALL * max(together.values(), default=0.0)
        tried = [(name, window) for name, window in places if together[name, window] > least]
        groups = _groups(features, self.seeds)
        total = sum(len(columns_of(self.rows[name])) for name, _ in tried) + len(groups)
        done = 0
        for name, window in tried:
            own = self.rows[name]
            other = own[_shuffled(self.window[name] == window)]
            for kind, position, column in columns_of(own):
                if column != CONSTANT:
                    effect = self._change(rows={name: with_column(own, other, kind, position)})
                    yield {"table": name, "column": column, "window": self.names[window], "effect": effect}
                done += 1
                if progress is not None:
                    progress(done, total)
        for (table, column, span), chosen in groups.items():
            effect = self._change(features=chosen)
            yield {"table": table, "column": column, "window": span, "effect": effect}
            done += 1
            if progress is not None:
                progress(done, total)

    def _change(
        self,
        rows: dict[NodeType, TensorFrame] | None = None,
        keep: dict[NodeType, Tensor] | None = None,
        features: list[int] | None = None,
    ) -> float:
        return float((self.base - self._score(rows, keep, features)).abs().mean())

    def _score(
        self,
        rows: dict[NodeType, TensorFrame] | None = None,
        keep: dict[NodeType, Tensor] | None = None,
        features: list[int] | None = None,
    ) -> Tensor:
        made = copies(self.batch, {**self.keep, **(keep or {})})
        if features is not None:
            made.features = made.features.clone()
            everyone = torch.ones(len(made.features), dtype=torch.bool, device=made.features.device)
            made.features[:, features] = made.features[_shuffled(everyone)][:, features]
        with torch.inference_mode():
            out = forward(self.model, self.graph, made, rows={**self.rows, **(rows or {})})
            return self.model.head.unbounded(out).view(len(self.seeds), -1)


def _groups(features: Features | None, seeds: Seeds) -> dict[tuple[str, str, str], list[int]]:
    """Which of the numbers that a network reads come from which place."""
    found: dict[tuple[str, str, str], list[int]] = {}
    if features is not None:
        numbers = [o for o, codes in zip(features.origin, features.categorical, strict=True) if not codes]
        for i, origin in enumerate(numbers):
            found.setdefault(place_of(origin, seeds.node_type), []).append(i)
    return found


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
