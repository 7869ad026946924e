"""A run: what training left, and all that is needed to predict with it on another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import RunError, UsageError, unknown_name
from graphlearn.graph import Statistics, build_graph
from graphlearn.graph.text import TextEncoder
from graphlearn.models.rdl import EncoderFactory, ModelConfig, RelationalModel
from graphlearn.predict.evaluate import Scored, compare
from graphlearn.schema import Database, Schema, connect
from graphlearn.schema.manifest import manifest_dict, schema_from_dict
from graphlearn.tasks import Task
from graphlearn.tasks.task import REGIMES
from graphlearn.tasks.times import TimeLike, time_us
from graphlearn.training.checkpoint import load_run
from graphlearn.training.scoring import predict_seeds
from graphlearn.training.seeds import Seeds, make_seeds, split_seeds


class Run:
    """A trained model with its schema, statistics, task and settings.

    Args:
        folder: The run folder.
        encoder: The row encoder's factory, if the model was trained with one of the user's own.
        text_encoder: The text encoder, likewise.
        device: Where to compute.

    Attributes:
        folder: Where it was read from.
        meta: What ``run.json`` holds.
        schema: Of the database that it was trained on; every database it predicts for is read with it.
        task: The task; without labels until a database is given.
        regime: ``frozen`` or ``rolling``, as trained.
        model: The model, with the weights of the best epoch.

    Raises:
        RunError: If the folder is not a run, is incomplete, or was written by another version.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        encoder: EncoderFactory | None = None,
        text_encoder: TextEncoder | None = None,
        device: str = "cpu",
    ) -> None:
        self.folder = Path(folder)
        self.meta, weights = load_run(self.folder)
        self._encoder, self._text_encoder = encoder, text_encoder
        try:
            self.schema: Schema = schema_from_dict(self.meta["schema"], f"{self.folder}/run.json")
            self.statistics = Statistics.from_dict(self.meta["statistics"])
            self.task = Task.from_dict(None, self._task_values())
            self.regime: str = self.meta["regime"]
            for name, given in (("encoder", encoder), ("text_encoder", text_encoder)):
                if self.meta[name] and given is None:
                    raise RunError(f"{self.folder} was trained with {name} {self.meta[name]}: pass it again to load.")
            self.model = make_model(self.schema, self.statistics, self.task, self.model_config, encoder)
            self.model.load_state_dict(weights)
        except (KeyError, TypeError, RuntimeError) as error:
            raise RunError(f"{self.folder} is not complete: {error}. Train again, or restore the folder.") from error
        self.device = device
        self.model.to(device).eval()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, task={self.task.name!r}, regime={self.regime!r})"

    @property
    def model_config(self) -> ModelConfig:
        """The model's settings."""
        values = self.meta["model_config"]
        return ModelConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def evaluate(
        self, split: str = "test", db: Database | None = None, *, regime: str | None = None
    ) -> dict[str, float | str]:
        """The metrics of the task type on a split, with the regime, the number of rows, and a 95 % interval
        (``low``, ``high``, entities resampled) of the first metric.

        Args:
            split: ``train``, ``val`` or ``test``.
            db: The database; by default the one that the run was trained on.
            regime: By default the run's own.
        """
        return self._score(split, db, regime).summary()

    def compare(self, split: str = "test", db: Database | None = None, *, regime: str | None = None) -> pd.DataFrame:
        """The run beside the baselines, one row each, all on the same rows in the same regime."""
        scored = self._score(split, db, regime)
        return compare(scored)

    def predict_split(
        self, split: str = "test", db: Database | None = None, *, regime: str | None = None
    ) -> pd.DataFrame:
        """Predictions for the rows of a label table, in its order: pkey, seed_time, prediction."""
        scored = self._score(split, db, regime)
        return self._table(pa.array(scored.pkey), scored.seeds.seed_time, torch.from_numpy(scored.prediction))

    def predict(
        self,
        db: Database | None = None,
        *,
        at: TimeLike | None = None,
        entities: Iterable[object] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Predictions at a time, keyed by (pkey, seed_time) and sorted by them.

        Args:
            db: The database, which may have grown since training; by default the one that the run was trained on.
            at: The seed time: microseconds UTC or a date. Rows with a later time are not looked at. By default the
                newest time in the database. Tasks that complete a column predict each row at its own time instead.
            entities: Primary keys to predict for; by default every row of the entity table that exists at ``at``.
            progress: Called with (rows done, rows in all).

        Returns:
            pkey, seed_time and prediction: a probability, a number, or the likeliest class; for several classes also
            one column of probabilities per class, ``p(class)``.

        Raises:
            TaskError: If ``entities`` names a row that does not exist.
        """
        db = self._database(db)
        graph = self.graph(db)
        store = graph[self.task.entity_table]
        keys = store.pkey if entities is None else _as_keys(list(entities), store.pkey.type, self.task)
        if self.task.kind == "autocomplete":
            if at is not None:
                raise UsageError(f"task '{self.task.name}' completes a column at each row's own time: leave 'at' out.")
            seeds = make_seeds(graph, self.task, keys, torch.zeros(len(keys), dtype=torch.int64), None)
            time = store.time[seeds.index]
            seeds = Seeds(seeds.node_type, seeds.index, time, time, own_row=True)
        else:
            newest = newest_time(graph) if at is None else time_us(at, "at")
            if entities is None and "time" in store:
                visible = torch.arange(len(keys)) < store.num_undated + torch.searchsorted(
                    store.time[store.num_undated :], newest, right=True
                )
                keys = keys.filter(pa.array(visible.numpy()))
            seeds = make_seeds(graph, self.task, keys, torch.full((len(keys),), newest), None)
        predicted = predict_seeds(self.model, graph.to(self.device), seeds, progress=progress)
        table = self._table(keys, seeds.seed_time, predicted)
        return table.sort_values(["seed_time", "pkey"], kind="stable", ignore_index=True)

    def graph(self, db: Database) -> HeteroData:
        """The graph of ``db`` as this run reads it: its schema, its statistics, its hidden columns."""
        return build_graph(
            self._database(db),
            statistics=self.statistics,
            hidden=self.task.remove_columns,
            text_encoder=self._text_encoder,
            edge_index=False,
        )

    def _database(self, db: Database | None) -> Database:
        """``db`` read with the run's schema; the source of the training if there is none."""
        if db is None:
            source = self.meta["source"]
            if not Path(source).exists():
                raise UsageError(f"the source of this run, {source}, is not there: name the database to use.")
            return connect(source, schema=self.schema)
        return db if manifest_dict(db.schema) == manifest_dict(self.schema) else db.with_schema(self.schema)

    def _score(self, split: str, db: Database | None, regime: str | None) -> Scored:
        regime = regime or self.regime
        if regime not in REGIMES:
            raise unknown_name("regime", regime, REGIMES)
        db = self._database(db)
        self.task = Task.from_dict(db, self._task_values())
        labels = self.task.label_table(split)
        graph = self.graph(db)
        seeds = split_seeds(graph, self.task, split, regime, labels=labels)
        predicted = predict_seeds(self.model, graph.to(self.device), seeds).numpy()
        return Scored(self.task, split, regime, graph, seeds, labels["pkey"].to_numpy(), predicted)

    def _task_values(self) -> dict[str, Any]:
        values = dict(self.meta["task"])
        own = self.folder / "task"
        return {**values, "folder": str(own)} if own.is_dir() else values

    def _table(self, keys: pa.Array, seed_time: Tensor, predicted: Tensor) -> pd.DataFrame:
        values = predicted.numpy()
        times = seed_time.cpu().numpy().astype("datetime64[us]")
        columns: dict[str, Any] = {"pkey": keys.to_pandas(), "seed_time": times}
        if values.ndim == 1:
            columns["prediction"] = values.astype(np.float64)
        else:
            classes = np.asarray(self.task.classes, dtype=object)
            if self.task.task_type == "multiclass_classification":
                columns["prediction"] = classes[values.argmax(axis=1)]
            columns |= {f"p({name})": values[:, i].astype(np.float64) for i, name in enumerate(classes)}
        return pd.DataFrame(columns)


def load(
    folder: str | Path,
    *,
    encoder: EncoderFactory | None = None,
    text_encoder: TextEncoder | None = None,
    device: str = "cpu",
) -> Run:
    """Reads a run folder; see :class:`Run`."""
    return Run(folder, encoder=encoder, text_encoder=text_encoder, device=device)


def make_model(
    schema: Schema, statistics: Statistics, task: Task, config: ModelConfig, encoder: EncoderFactory | None
) -> RelationalModel:
    """The model of a task with fresh weights."""
    classes: Sequence[object] = task.classes
    return RelationalModel(
        schema, statistics, task.task_type, config, num_classes=max(len(classes), 1), encoder=encoder
    )


def newest_time(graph: HeteroData) -> int:
    """The newest time of any row, microseconds UTC.

    Raises:
        UsageError: If no row has a time.
    """
    found = [int(store.time[-1]) for store in graph.node_stores if "time" in store and store.num_nodes > store.num_undated]
    if not found:
        raise UsageError("no row of this database has a time, so there is no newest one: say for when with 'at'.")
    return max(found)


def _as_keys(entities: list[object], dtype: pa.DataType, task: Task) -> pa.Array:
    """Primary keys in the type that the database has, also when they were given as text."""
    try:
        if entities and all(isinstance(key, str) for key in entities):
            return pa.array(entities, type=pa.string()).cast(dtype)
        return pa.array(entities, type=dtype)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"keys of '{task.entity_table}' are of type {dtype}, got {entities[0]!r}: {error}."
        ) from error
