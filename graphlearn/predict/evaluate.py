"""A run's metrics with intervals, beside the baselines on the same rows in the same regime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch_geometric.data import HeteroData

from graphlearn.models.baselines import Labels, constant, entity_columns, entity_past, feature_matrix
from graphlearn.tasks import Task
from graphlearn.tasks.metrics import bootstrap, primary_metric, score
from graphlearn.training.seeds import Seeds, split_seeds


@dataclass(frozen=True)
class Scored:
    """Predictions for the labelled rows of a split, with what they were made from."""

    task: Task
    split: str
    regime: str
    graph: HeteroData
    seeds: Seeds
    pkey: np.ndarray
    prediction: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """The labels as numbers."""
        assert self.seeds.label is not None
        return self.seeds.label.numpy()

    def summary(self) -> dict[str, float | str]:
        """Metrics, regime, number of rows, and the interval of the first metric."""
        found: dict[str, float | str] = dict(_metrics(self.task, self.label, self.prediction, self.seeds))
        return {**found, "split": self.split, "regime": self.regime, "rows": len(self.label)}


def compare(scored: Scored) -> pd.DataFrame:
    """One row per model: the run, then the constant, the entity's past labels and LightGBM on the entity's columns.

    The last two use train labels; past labels also those of validation, and of test, as far as their outcome was known
    by each row's input time.
    """
    task, graph, seeds = scored.task, scored.graph, scored.seeds
    kind, classes = str(task.task_type.value), max(len(task.classes), 1)
    known = {"train": split_seeds(graph, task, "train", scored.regime)}
    known["val"] = seeds if scored.split == "val" else split_seeds(graph, task, "val", scored.regime)
    past = {**known, scored.split: seeds}
    history = Labels(
        entity=np.concatenate([s.index.numpy() for s in past.values()]),
        known_from=np.concatenate([s.seed_time.numpy() + task.timedelta for s in past.values()]),
        value=np.concatenate([_label(s) for s in past.values()]),
    )
    columns = feature_matrix(graph[task.entity_table].tf)
    train, val = ((columns[s.index.numpy()], _label(s)) for s in (known["train"], known["val"]))
    index, size = seeds.index.numpy(), len(seeds)
    predictions = {
        "this run": scored.prediction,
        "constant": constant(kind, _label(known["train"]), size, num_classes=classes),
        "entity's past labels": entity_past(kind, history, index, seeds.input_time.numpy(), num_classes=classes),
        "lightgbm, entity's columns": entity_columns(kind, train, val, columns[index], num_classes=classes),
    }
    rows = [
        {"model": name, **_metrics(task, scored.label, values, seeds), "regime": scored.regime}
        for name, values in predictions.items()
    ]
    table = pd.DataFrame(rows)
    table.attrs["rows"] = size
    return table


def _label(seeds: Seeds) -> np.ndarray:
    assert seeds.label is not None
    return seeds.label.numpy()


def _metrics(task: Task, label: np.ndarray, prediction: np.ndarray, seeds: Seeds) -> dict[str, float]:
    kind = str(task.task_type.value)
    found = score(kind, label, prediction)
    name, _ = primary_metric(kind)
    if np.isnan(found[name]):  # a split of one class has no AUROC, and no interval
        return {**found, "low": float("nan"), "high": float("nan")}
    low, high = bootstrap(kind, label, prediction, metric=name, seed=0, groups=seeds.index.numpy())
    return {**found, "low": low, "high": high}
