"""What every kind of training starts from: labels, statistics, sizes, and the facts that a run keeps."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.database.sql import quote, time_us
from graphlearn.errors import TaskError
from graphlearn.features import Aggregates
from graphlearn.graph import Statistics, build_graph
from graphlearn.graph.text import TextEncoder
from graphlearn.models import Ensemble, ModelConfig, RelationalModel
from graphlearn.models.gbdt import Trees
from graphlearn.models.ranker import Ranker
from graphlearn.models.rdl import EncoderFactory
from graphlearn.native import kernels
from graphlearn.predict.network import Labelled, Model, NetworkTraining
from graphlearn.predict.run import make_model
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.tasks.labels import EmptySplitError
from graphlearn.training.loop import Lessons, SeedLessons, TrainConfig, TrainState, plan
from graphlearn.training.seeds import Seeds, labels_of, split_seeds

#: Seeds that may be gone through, over all members, to have more than one; and the most members.
_SEEDS_TO_SPEND, _MOST_MEMBERS = 256_000, 4


@dataclass(frozen=True)
class Prepared:
    """What a training starts from; the command line tells of it before the first epoch."""

    num_train: int
    num_val: int
    longest_age: int = 0
    graph: HeteroData | None = None
    model: RelationalModel | Ensemble | Ranker | None = None
    aggregates: Aggregates | None = None
    state: TrainState | None = None


@dataclass
class Trained:
    """What a training ends with: the parts of a run.

    Attributes:
        kind: Of the run.
        network: The network, or None.
        state: Of its training.
        trees: Trees whose mean is their prediction.
        aggregates: The features of both.
        weights: Shares of ``gnn`` and ``gbdt``.
        constant: What a run without either says.
        score: The primary metric of what was chosen on the newest fold, before any refit; NaN without a value.
        choice: What was tried and how it scored.
        timings: Seconds of each stage.
    """

    kind: str
    network: RelationalModel | Ensemble | Ranker | None = None
    state: TrainState = field(default_factory=TrainState)
    trees: list[Trees] = field(default_factory=list)
    aggregates: Aggregates | None = None
    weights: dict[str, float] = field(default_factory=dict)
    constant: np.ndarray | None = None
    score: float = float("nan")
    choice: dict[str, Any] | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        return {
            "kind": self.kind,
            "trees": len(self.trees),
            "aggregates": None if self.aggregates is None else self.aggregates.to_dict(),
            "weights": self.weights or None,
            "constant": None if self.constant is None else self.constant.tolist(),
            "choice": self.choice,
            "timings": {stage: round(seconds, 3) for stage, seconds in self.timings.items()},
        }


@dataclass
class Ground:
    """A training's surroundings.

    Attributes:
        db, task, regime, seed, device: As given.
        settings: Of a network's optimisation.
        sizes: Of a network.
        statistics: Of the rows until validation.
        tables: The label tables of train and val.
        longest_age: How far past the cut the rows to predict reach, or the age that was asked for; 0 in ``rolling``.
        max_age: The age that was asked for, or None.
        max_features: The budget of aggregates.
        refit: Whether to train again with the labels of validation.
        resume: Whether to go on with what ``partial`` keeps.
        partial: Where a network's training is kept.
        facts: What the run records, and a resumed training must agree with.
    """

    db: Database
    task: Task
    regime: str
    seed: int
    device: str
    settings: TrainConfig
    sizes: ModelConfig
    statistics: Statistics
    tables: dict[str, pa.Table]
    longest_age: int
    max_age: int | None
    max_features: int
    refit: bool
    resume: bool
    partial: Path
    facts: dict[str, Any]
    encoder: EncoderFactory | None = None
    text_encoder: TextEncoder | None = None
    progress: bool = True
    on_start: Callable[[Prepared], None] | None = None
    on_epoch: Callable[[dict[str, Any]], None] | None = None

    @property
    def kind(self) -> str:
        """The task type as text."""
        return str(self.task.task_type.value)

    def graph(self) -> HeteroData:
        """The graph that networks read."""
        return build_graph(
            self.db,
            statistics=self.statistics,
            hidden=self.task.remove_columns,
            text_encoder=self.text_encoder,
            edge_index=False,
        )

    def seeds(self, graph: HeteroData) -> dict[str, Seeds]:
        """The seeds of train and val."""
        return {
            split: split_seeds(graph, self.task, split, self.regime, labels=table)
            for split, table in self.tables.items()
        }

    def network(
        self, graph: HeteroData, train: Seeds, *, sizes: ModelConfig, settings: TrainConfig, agreed: str
    ) -> NetworkTraining[Seeds, RelationalModel | Ensemble]:
        """A network's training, resumed if that was asked for."""

        def fresh(labelled: Seeds) -> RelationalModel | Ensemble:
            made = make_model(self.db.schema, self.statistics, self.task, sizes, self.encoder)
            if "regression" in self.kind:
                made.head.fit_range(labels_of(labelled))
            if labelled.features is not None:
                made.fit_features(labelled.features)
            return made.to(torch.device(self.device))

        def lessons(model: RelationalModel | Ensemble, labelled: Seeds, val: Seeds | None) -> SeedLessons:
            return SeedLessons(model, graph, labelled, val, settings, self.longest_age, self.task.timedelta)

        return self.training(fresh, lessons, train, settings=settings, agreed=agreed)

    def training(
        self,
        fresh: Callable[[Labelled], Model],
        lessons: Callable[[Model, Labelled, Labelled | None], Lessons],
        train: Labelled,
        *,
        settings: TrainConfig,
        agreed: str,
    ) -> NetworkTraining[Labelled, Model]:
        """The training of any network, resumed if that was asked for."""
        training = NetworkTraining(
            fresh,
            lessons,
            settings,
            train=train,
            seed=self.seed,
            partial=self.partial,
            agreed=agreed,
            progress=self.progress,
            on_epoch=self.on_epoch,
        )
        if self.resume:
            training.resume()
        else:
            self.partial.unlink(missing_ok=True)
        return training

    def start(self, prepared: Prepared) -> None:
        """Tells what the training starts from, once: a choice may end with another kind than it tried."""
        if self.on_start is not None:
            self.on_start(prepared)
        self.on_start = None


def default_sizes(db: Database, task: Task, num_train: int, settings: TrainConfig) -> ModelConfig:
    """The model that a task gets where the user says nothing."""
    # Completing a column is reading the seed's own row, so that is never hidden.
    hidden = 0.0 if task.completes else ModelConfig.row_dropout
    return ModelConfig(period=_period(db, task), row_dropout=hidden, members=num_members(num_train, settings))


def num_members(num_train: int, settings: TrainConfig) -> int:
    """How many models a training on so many labels affords."""
    steps, epochs = plan(num_train, settings)
    return min(max(_SEEDS_TO_SPEND // (steps * epochs * settings.batch_size), 1), _MOST_MEMBERS)


def label_tables(task: Task) -> dict[str, pa.Table]:
    """The labels of train and val, with what would otherwise show only after the training.

    Raises:
        TaskError: If a split is empty, or nothing can be learned from it.
    """
    tables = {split: task.label_table(split) for split in ("train", "val")}
    if task.task_type == "multilabel_classification" and not task.classes:
        raise TaskError(f"task '{task.name}' has no class in train: every label is an empty list. Check the target.")
    if task.labels_given:  # those of test are kept in the run folder
        with contextlib.suppress(EmptySplitError):
            task.label_table("test")
    return tables


def reach(task: Task, val: pa.Table, regime: str) -> int:
    """How far past the cut the rows to predict reach: the evaluation period of the task, or validation's own."""
    asked = (task.num_eval_timestamps - 1) * task.step
    cut = task.cut("val", regime)
    newest = int(val["seed_time"].to_numpy().max())
    return max(asked, 0 if cut is None else newest - cut)


def seed_tensors(seeds: dict[str, Seeds]) -> list[Tensor]:
    """All that :func:`digest` is to know of labelled seeds."""
    return [t for part in seeds.values() for t in (part.index, part.seed_time, part.input_time, labels_of(part))]


def digest(facts: dict[str, Any], tensors: Iterable[Tensor], device: str) -> str:
    """Changes when anything that the numbers depend on changes; a time budget does not."""
    settings = {k: v for k, v in facts["train_config"].items() if k not in ("max_minutes", "num_threads")}
    machine = {"device": device, "threads": torch.get_num_threads(), "native": kernels is not None}
    made = hashlib.sha256(json.dumps({**facts, "train_config": settings, **machine}, sort_keys=True).encode())
    for tensor in tensors:
        made.update(tensor.numpy().tobytes())
    return made.hexdigest()


def place(source: str) -> str:
    """A path that is found from another working directory, too."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def versions() -> dict[str, str]:
    """Of what computes."""
    names = ("graphlearn", "torch", "torch-geometric", "pytorch-frame", "lightgbm", "duckdb", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _period(db: Database, task: Task) -> int:
    """The unit of ages: the label window; to complete a column, which has none, 1/256 of the time before validation."""
    if not task.completes:
        return task.timedelta
    times = [
        (quote(t.name), time_us(quote(t.time_col), t.column(t.time_col).dtype))
        for t in db.schema.tables.values()
        if t.time_col
    ]
    first = [db.rows(f"SELECT min({time}) FROM {name}")[0][0] for name, time in times]
    beginning = min((int(us) for us in first if us is not None), default=task.val_time)
    return max(1, (task.val_time - beginning) // 256)
