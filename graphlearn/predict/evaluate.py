"""A run's metrics with intervals, beside the baselines on the same rows in the same regime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from torch_geometric.data import HeteroData

from graphlearn.models.baselines import Labels, constant, entity_columns, entity_past, feature_matrix
from graphlearn.tasks import Task
from graphlearn.tasks.metrics import bootstrap, primary_metric, score
from graphlearn.training.scoring import seed_known
from graphlearn.training.seeds import Seeds, labels_of, split_seeds


@dataclass(frozen=True)
class Scored:
    """Predictions for the labelled rows of a split, with what they were made from."""

    task: Task
    split: str
    regime: str
    graph: HeteroData
    seeds: Seeds
    pkey: pa.Array
    prediction: np.ndarray
    trained_on: bool = False

    @property
    def label(self) -> np.ndarray:
        """The labels as numbers."""
        return _label(self.seeds)

    def summary(self) -> dict[str, float | str]:
        """Metrics, regime, number of rows, the interval of the first metric, and whether the labels were trained on."""
        found: dict[str, float | str] = dict(_metrics(self.task, self.label, self.prediction, self.seeds))
        return {
            **found,
            "split": self.split,
            "regime": self.regime,
            "rows": len(self.label),
            "trained_on": self.trained_on,
        }


def compare(scored: Scored) -> pd.DataFrame:
    """One row per model: the run, then the constant, the entity's past labels and LightGBM on the entity's columns.

    The last two use train labels; past labels also those of validation, and of test, as far as their outcome was known
    by each row's input time.
    """
    task, graph, seeds = scored.task, scored.graph, scored.seeds
    kind, classes = str(task.task_type.value), task.num_outputs
    known = {"train": split_seeds(graph, task, "train", scored.regime)}
    known["val"] = seeds if scored.split == "val" else split_seeds(graph, task, "val", scored.regime)
    past = {**known, scored.split: seeds}
    history = Labels(
        entity=np.concatenate([s.index.numpy() for s in past.values()]),
        known_from=np.concatenate([s.seed_time.numpy() + task.timedelta for s in past.values()]),
        value=np.concatenate([_label(s) for s in past.values()]),
    )
    index, size = seeds.index.numpy(), len(seeds)
    same = constant(kind, _label(known["train"]), size, num_classes=classes)
    own = entity_past(kind, history, index, seeds.input_time.numpy(), fallback=same, num_classes=classes)
    columns = feature_matrix(graph[task.entity_table].tf)
    train, val = ((_visible(graph, columns, s), _label(s)) for s in (known["train"], known["val"]))
    trees = entity_columns(kind, train, val, _visible(graph, columns, seeds), num_classes=classes)
    predictions = {
        "this run": scored.prediction,
        "constant": same,
        "entity's past labels": own,
        "lightgbm, entity's columns": trees,
    }
    rows = [
        {"model": name, **_metrics(task, scored.label, values, seeds), "regime": scored.regime}
        for name, values in predictions.items()
    ]
    table = pd.DataFrame(rows)
    table.attrs |= {"rows": size, "trained_on": scored.trained_on}
    return table


def _label(seeds: Seeds) -> np.ndarray:
    return labels_of(seeds).numpy()


def _visible(graph: HeteroData, columns: np.ndarray, seeds: Seeds) -> np.ndarray:
    """The entity's columns for each seed; missing where its row is newer than what the seed may see."""
    known = seed_known(graph, seeds).numpy()
    return np.where(known[:, None], columns[seeds.index.numpy()], np.float32(np.nan))


def _metrics(task: Task, label: np.ndarray, prediction: np.ndarray, seeds: Seeds) -> dict[str, float]:
    kind = str(task.task_type.value)
    found = score(kind, label, prediction)
    name, _ = primary_metric(kind)
    if np.isnan(found[name]):  # a split of one class has no AUROC, and no interval
        return {**found, "low": float("nan"), "high": float("nan")}
    low, high = bootstrap(kind, label, prediction, metric=name, seed=0, groups=seeds.index.numpy())
    return {**found, "low": low, "high": high}
