"""Columns that alone say the label: what a row may see, one column at a time, against the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics as skm
import torch
import torch_frame
from torch_geometric.data import HeteroData

from graphlearn.errors import first_three
from graphlearn.predict.audit_inputs import MOST_SEEDS
from graphlearn.predict.finding import AuditFinding
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.tasks import Task
from graphlearn.training.scoring import seed_known, seed_loader
from graphlearn.training.seeds import Seeds, labels_of

MOST_AUROC, MOST_CORRELATION = 0.99, 0.999
_FEWEST = 30
"""Rows that have a value below which a column is not judged, and a sixth of it of each class."""


@dataclass(frozen=True)
class Values:
    """One column as rows see it: of the own row, or of the newest row of another table within two keys.

    Attributes:
        name: ``table.column``.
        categorical: Whether ``value`` holds codes.
        value: float64 ``[N]``, NaN where there is none.
    """

    name: str
    categorical: bool
    value: np.ndarray


def target_like(graph: HeteroData, task: Task, splits: dict[str, Seeds]) -> AuditFinding:
    """Scores each column alone: numbers and times on train and validation, categories, which are what they were in
    train, on validation.

    Binary and each of several classes: AUROC of the values, and of whether there is one. Numbers: the correlation.
    """
    held = "val" if "val" in splits else "train"
    parts = {name: splits[name].spread(MOST_SEEDS) for name in {"train", held}}
    label = {name: _targets(task, labels_of(seeds).numpy()) for name, seeds in parts.items()}
    regression = "regression" in task.task_type
    found: list[tuple[str, float]] = []
    before = {values.name: values for values in visible_columns(graph, parts["train"])}
    for now in visible_columns(graph, parts[held]):
        if now.name not in before:  # no row of the table was there in train
            continue
        then, truths = before[now.name].value, label[held]
        if now.categorical:
            value = _mean_of_category(then, label["train"], now.value)
        else:
            truths = np.concatenate([label["train"], truths])
            value = [np.concatenate([then, now.value])] * truths.shape[1]
        scores = [
            _correlation(truth, column) if regression else _auroc(truth, column)
            for truth, column in zip(truths.T, value, strict=True)
        ]
        known = [s for s in scores if not np.isnan(s)]
        if known:
            found.append((now.name, max(known)))
    found.sort(key=lambda item: (-item[1], item[0]))
    what, limit = ("correlation", MOST_CORRELATION) if regression else ("AUROC", MOST_AUROC)
    numbers = {"measure": what, "limit": limit, "split": held, "columns": [list(item) for item in found[:10]]}
    over = [(name, value) for name, value in found if value > limit]
    if over:
        shown = first_three([f"{name} {value:.4f}" for name, value in over])
        hide = " ".join(f"[{', '.join(name.rsplit('.', 1))}]" for name, _ in over[:3])
        return AuditFinding(
            "columns", "fail", f"{len(over)} of {len(found)} columns say the label alone, by {what}: {shown}.", numbers,
            f"If they are filled in when the outcome is known, hide them: remove_columns: {hide}.",
        )  # fmt: skip
    best = f"; the best is {found[0][0]} with {found[0][1]:.3f}" if found else ""
    return AuditFinding(
        "columns", "ok", f"None of {len(found)} columns says the label alone, by {what}{best}.", numbers
    )


def visible_columns(graph: HeteroData, seeds: Seeds) -> Iterator[Values]:
    """Each column of the own row, and of the newest row of each other table within two keys, as the seeds see it."""
    sampler = TemporalNeighborSampler(graph, [1, 1], strategy="last")
    rows = {name: np.full(len(seeds), -1) for name in graph.node_types}
    start = 0
    for batch in seed_loader(graph, sampler, seeds, batch_size=4096):
        for name in graph.node_types:
            of_seed, first = np.unique(batch[name].batch.numpy(), return_index=True)
            rows[name][start + of_seed] = batch[name].n_id.numpy()[first]  # level by level: the nearest comes first
        start += len(batch.seed_time)
    own = seed_known(graph, seeds).numpy()
    rows[seeds.node_type] = np.where(own, seeds.index.numpy(), -1)
    for name in graph.node_types:
        at = rows[name]
        if not (at >= 0).any():
            continue
        tf = graph[name].tf[torch.from_numpy(np.maximum(at, 0))]
        for column, categorical, value in _columns(tf):
            yield Values(f"{name}.{column}", categorical, np.where(at >= 0, value, np.nan))


def _columns(tf: Any) -> Iterator[tuple[str, bool, np.ndarray]]:
    for kind in (torch_frame.numerical, torch_frame.categorical, torch_frame.timestamp):
        if kind not in tf.feat_dict:
            continue
        block = tf.feat_dict[kind].double().numpy()
        for i, column in enumerate(tf.col_names_dict[kind]):
            value = block[:, i]
            if kind == torch_frame.timestamp:  # year, month, day, weekday, hour, minute, second: back to one number
                year, month, day, _, hour, minute, second = value.T
                clock = (hour * 60 + minute) * 60 + second
                value = np.where(year < 0, np.nan, ((year * 12 + month) * 31 + day) * 86_400 + clock)
            elif kind == torch_frame.categorical:
                value = np.where(value < 0, np.nan, value)
            yield column, kind == torch_frame.categorical, value


def _targets(task: Task, label: np.ndarray) -> np.ndarray:
    """Labels as columns ``[N, C]``: one for each class of multiclass, else as they are."""
    if task.task_type == "multiclass_classification":
        label = label[:, None] == np.arange(task.num_outputs)
    return label.reshape(len(label), -1).astype(np.float64)


def _mean_of_category(codes: np.ndarray, label: np.ndarray, now: np.ndarray) -> list[np.ndarray]:
    """Per target the mean train label of each row's category; NaN for one that train did not have."""
    means = pd.DataFrame(label).groupby(codes).mean()
    return [means[c].reindex(now).to_numpy() for c in means.columns]


def _auroc(truth: np.ndarray, value: np.ndarray) -> float:
    """The better of two AUROCs in either direction: of the values that there are, and of whether there is one."""
    known = np.isfinite(value)
    scores = [_rank_auroc(truth, known.astype(float)), _rank_auroc(truth[known], value[known])]
    return max((s for s in scores if not np.isnan(s)), default=float("nan"))


def _rank_auroc(truth: np.ndarray, value: np.ndarray) -> float:
    positive = truth > 0.5
    if len(truth) < _FEWEST or min(positive.sum(), (~positive).sum()) < _FEWEST // 6:
        return float("nan")
    auroc = float(skm.roc_auc_score(positive, value))
    return max(auroc, 1 - auroc)


def _correlation(truth: np.ndarray, value: np.ndarray) -> float:
    known = np.isfinite(value)
    if known.sum() < _FEWEST or np.ptp(value[known]) == 0 or np.ptp(truth[known]) == 0:
        return float("nan")
    return float(abs(np.corrcoef(truth[known], value[known])[0, 1]))
