"""A run: what training left, and all that is needed to predict with it on another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import GraphLearnError, RunError, TaskError, UsageError, unknown_name
from graphlearn.features import Aggregates
from graphlearn.features.reader import Reader
from graphlearn.graph import Statistics, build_graph
from graphlearn.graph.text import TextEncoder
from graphlearn.models import Ensemble, ModelConfig, RelationalModel
from graphlearn.models.gbdt import Trees, mean_prediction
from graphlearn.models.rdl import EncoderFactory
from graphlearn.predict.entities import (
    Asked,
    asked_of_database,
    asked_of_graph,
    entity_rows,
    time_asked,
    without_history,
)
from graphlearn.predict.evaluate import Scored, compare
from graphlearn.predict.write import check_place, write_predictions
from graphlearn.schema import Database, Schema, connect
from graphlearn.schema.manifest import manifest_dict, schema_from_dict
from graphlearn.tasks import Task
from graphlearn.tasks.labels import SPLITS
from graphlearn.tasks.task import REGIMES
from graphlearn.tasks.times import TimeLike
from graphlearn.training.checkpoint import KINDS, kind_of, load_run, run_id
from graphlearn.training.device import check_device
from graphlearn.training.scoring import predict_seeds
from graphlearn.training.seeds import split_seeds, with_features


class Run:
    """A trained model with its schema, statistics, task and settings.

    Args:
        folder: The run folder.
        encoder: The row encoder's factory, if the model was trained with one of the user's own.
        text_encoder: The text encoder, likewise.
        device: Where to compute, ``"cpu"`` or ``"cuda"``.
        db: The database to use where a method is given none; by default the source of the training, if it is a path
            that is still there.

    Attributes:
        folder: Where it was read from.
        meta: What ``run.json`` holds; ``meta["choice"]`` says which kinds of model were tried and how they scored.
        kind: ``constant``, ``gbdt``, ``gnn``, or ``fused``: a network and trees together.
        schema: Of the database that it was trained on; every database it predicts for is read with it.
        statistics: Of the rows that training saw.
        task: The task; without labels until a database has been read.
        regime: ``frozen`` or ``rolling``, as trained.
        model: The network, with the weights of the best epoch; None of a kind that has none.
        aggregates: The features of trees and of fused networks, or None.
        trees: The trees, whose mean is their prediction, or None.
        weights: What share networks (``gnn``) and trees (``gbdt``) have in a prediction; they add up to 1.
        device: Where it computes.
        id: 12 hexadecimal digits of weights, settings and task: two runs that predict the same have the same.

    Raises:
        RunError: If the folder is not a run, is incomplete, was written by another version, or needs an encoder.
        UsageError: If there is no such device.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        encoder: EncoderFactory | None = None,
        text_encoder: TextEncoder | None = None,
        device: str = "cpu",
        db: Database | None = None,
    ) -> None:
        check_device(device)
        self.folder = Path(folder)
        self.device = device
        self.meta, weights = load_run(self.folder)
        self._encoder, self._text_encoder, self._db = encoder, text_encoder, db
        try:
            for name, given in (("encoder", encoder), ("text_encoder", text_encoder)):
                self._check_encoder(name, self.meta[name], given)
            self.schema: Schema = schema_from_dict(self.meta["schema"], "its schema")
            self.statistics = Statistics.from_dict(self.meta["statistics"])
            self.task = Task.from_dict(None, self._task_values())
            self.regime: str = self.meta["regime"]
            if self.regime not in REGIMES:
                raise unknown_name("regime", str(self.regime), REGIMES)
            self.kind = kind_of(self.meta)
            if self.kind not in KINDS:
                raise unknown_name("kind of run", self.kind, KINDS)
            self.model: RelationalModel | Ensemble | None = None
            if weights is not None:
                self._load_network(weights)
            plan = self.meta.get("aggregates")
            self.aggregates = None if plan is None else Aggregates.from_dict(None, self.task, plan)
            members = range(int(self.meta.get("trees") or 0))
            kind = str(self.task.task_type.value)
            self.trees = [Trees.load(self.folder, member, kind) for member in members] or None
            self.weights: dict[str, float] = dict(self.meta.get("weights") or {"gnn": 1.0})
        except RunError:
            raise
        except (GraphLearnError, KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise RunError(f"{self.folder} is not a whole run: {reason} Train again, or restore it.") from error
        self.id = run_id(self.folder, self.meta)
        self._plan: tuple[Database, Aggregates] | None = None
        self._warm: tuple[Database, Reader, pa.Table] | None = None
        if self.model is not None:
            self.model.to(device).eval()

    def _load_network(self, weights: dict[str, Tensor]) -> None:
        if self.task.item_table is not None:
            raise RunError(f"{self.folder} ranks '{self.task.item_table}': open it with graphlearn.load.")
        self.model = make_model(self.schema, self.statistics, self.task, self.model_config, self._encoder)
        self.model.load_state_dict(weights)

    def __repr__(self) -> str:
        what = f"task={self.task.name!r}, kind={self.kind!r}, regime={self.regime!r}"
        return f"{type(self).__name__}({str(self.folder)!r}, {what})"

    @property
    def model_config(self) -> ModelConfig:
        """The model's settings."""
        values = dict(self.meta["model_config"])
        return ModelConfig(**{**values, "num_neighbors": tuple(values["num_neighbors"])})

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
        return compare(self._score(split, db, regime))

    def predict_split(
        self, split: str = "test", db: Database | None = None, *, regime: str | None = None
    ) -> pd.DataFrame:
        """Predictions for the rows of a label table, in its order: pkey, seed_time, prediction."""
        scored = self._score(split, db, regime)
        return self._table(Asked.of(scored.pkey, scored.seeds), scored.prediction)

    def predict(
        self,
        db: Database | None = None,
        *,
        at: TimeLike | None = None,
        entities: Iterable[object] | None = None,
        progress: Callable[[int, int], None] | None = None,
        to: str | Path | None = None,
        if_exists: str = "fail",
    ) -> pd.DataFrame:
        """Predictions at a time, keyed by (pkey, seed_time) and sorted by them.

        Args:
            db: The database, which may have grown since training; by default the one that the run was trained on.
            at: The seed time: microseconds UTC or a date. Rows with a later time are not looked at. By default that of
                the query's AS OF, or the newest time in the database. Tasks that complete a column predict each row at
                its own time instead.
            entities: Primary keys to predict for; by default those that the query names or for which its WHERE holds
                at ``at``, and without a query every row of the entity table that exists then. One whose row is newer
                than ``at`` gets a prediction too, as of an entity about which nothing is known.
            progress: Called with (rows done, rows in all).
            to: Where to write them, too: see :func:`graphlearn.predict.write.write_predictions`.
            if_exists: What to do if ``to`` exists: ``fail``, ``replace`` or ``append``.

        Returns:
            pkey, seed_time and prediction: a probability, a number, or the likeliest class; for several classes also
            one column of probabilities per class, ``p(class)``; for several steps ``prediction`` is the first, and
            ``prediction(2)`` and so on are the others.

        Raises:
            UsageError: If ``at`` or a key means nothing, or the database is not at hand.
            UnknownNameError: If the database lacks a table or column that the run reads.
            TaskError: If ``entities`` names a row that does not exist.
            StorageError: If they cannot be written; then ``to`` is as it was.
        """
        if db is None and self._db is None:
            with closing(self._database(None)) as own:
                return self.predict(own, at=at, entities=entities, progress=progress, to=to, if_exists=if_exists)
        time = time_asked(self.task, at)
        db = self._database(db)
        if to is not None:
            check_place(to, if_exists, db)
        graph = None if self.model is None else self.graph(db)
        if graph is None:
            rows = None if self._warm is None or self._warm[0] is not db else self._warm[2]
            asked = asked_of_database(self.task, db, time, entities, rows=rows)
        else:
            asked = asked_of_graph(self.task, db, graph, time, entities)
        table = self._table(asked, self._answer(db, asked, graph, progress))
        table = table.sort_values(["seed_time", "pkey"], kind="stable", ignore_index=True)
        if to is not None:
            write_predictions(table, self, to, if_exists=if_exists, db=db)
        return table

    def without_history(self, predictions: pd.DataFrame, db: Database | None = None) -> list[object]:
        """The entities of :meth:`predict`'s table that no row named which was known at their time.

        Their predictions rest on their own columns, and on what is known of everyone.

        Args:
            predictions: With the columns pkey and seed_time.
            db: The database that was predicted from; by default the one that the run was trained on.
        """
        times = predictions["seed_time"].to_numpy().astype("datetime64[us]").astype(np.int64)
        with self.reading(db) as own:
            keys = pa.Array.from_pandas(predictions["pkey"])
            found: list[object] = without_history(self.task, own, keys, times).to_pylist()
        return found

    @contextmanager
    def reading(self, db: Database | None) -> Iterator[Database]:
        """The database as this run reads it; where none is given that of the training, closed in the end."""
        if db is None and self._db is None:
            with closing(self._database(None)) as own:
                yield own
        else:
            yield self._database(db)

    def labelled_task(self, db: Database) -> Task:
        """The task with the labels that the run was trained on, or those that ``db`` gives."""
        return Task.from_dict(db, self._task_values())

    def warm(self, db: Database | None = None) -> None:
        """Reads what aggregates are made of into memory, so that one entity's prediction then takes milliseconds.

        Rows that come into ``db`` later are not seen until this is called again. Networks read their graph at each
        prediction all the same.
        """
        db = self._database(db)
        if self.aggregates is not None:
            self._db = db
            self._warm = db, self.features(db).open(db), entity_rows(db, self.task)

    def graph(self, db: Database) -> HeteroData:
        """The graph of ``db`` as this run reads it: its schema, its statistics, its hidden columns."""
        return build_graph(
            self._database(db),
            statistics=self.statistics,
            hidden=self.task.remove_columns,
            text_encoder=self._text_encoder,
            edge_index=False,
        )

    def _check_encoder(self, name: str, trained: str | None, given: object) -> None:
        if trained and given is None:
            raise RunError(f"{self.folder} was trained with {name} {trained}: pass it again, load(…, {name}=…).")
        if given is not None and not trained:
            raise RunError(f"{self.folder} was trained without {name}: leave it out.")

    def _database(self, db: Database | None) -> Database:
        """``db`` read with the run's schema; without one that of the training."""
        db = db or self._db
        if db is None:
            source = self.meta["source"]
            if not Path(source).exists():
                raise UsageError(f"the source of this run, {source}, is not there: name the database to use.")
            return connect(source, schema=self.schema)
        return db if manifest_dict(db.schema) == manifest_dict(self.schema) else db.with_schema(self.schema)

    def _score(self, split: str, db: Database | None, regime: str | None) -> Scored:
        regime = regime or self.regime
        check_split(split, regime)
        db = self._database(db)
        task = self.labelled_task(db)
        own = self.folder / "task"
        if own.is_dir() and not (own / f"{split}.parquet").is_file():
            raise TaskError(f"task '{task.name}': the {split} split is empty: the labels of the training had none.")
        labels = task.label_table(split)
        graph = self.graph(db)
        seeds = split_seeds(graph, task, split, regime, labels=labels)
        pkey = labels["pkey"].combine_chunks()
        predicted = self._answer(db, Asked.of(pkey, seeds), graph)
        self.task = task
        trained_on = split == "train" or (split == "val" and bool(self.meta["refit"]))
        return Scored(task, split, regime, graph.to("cpu"), seeds, pkey, predicted, trained_on)

    def _task_values(self) -> dict[str, Any]:
        values = dict(self.meta["task"])
        own = self.folder / "task"
        return {**values, "folder": str(own)} if own.is_dir() else values

    def _answer(
        self,
        db: Database,
        asked: Asked,
        graph: HeteroData | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """What the parts of this run say, weighed: float64 ``[N]`` or ``[N, C]``."""
        if self.kind == "constant":
            return np.repeat(np.asarray(self.meta["constant"], dtype=np.float64)[None], len(asked), axis=0)
        values = np.zeros((len(asked), 0), dtype=np.float32)
        if self.aggregates is not None:
            reader = None if self._warm is None or self._warm[0] is not db else self._warm[1]
            plan = self.features(db)
            values = plan.compute(db, asked.pkey, asked.seed_time, asked.input_time, reader=reader).values
        parts = []
        if self.trees is not None:
            parts.append(self.weights["gbdt"] * mean_prediction(self.trees, values))
        if self.model is not None:
            assert graph is not None
            assert asked.seeds is not None
            seeds = with_features(asked.seeds, values, self.network_aggregates)
            said = predict_seeds(self.model, graph.to(self.device), seeds, progress=progress).numpy()
            parts.append(self.weights["gnn"] * said)
        return np.asarray(np.sum(parts, axis=0))

    @property
    def network_aggregates(self) -> Aggregates | None:
        """What the network reads beside rows; None: nothing, as when it is averaged with trees that do."""
        return self.aggregates if self.model is not None and self.model_config.num_features else None

    def features(self, db: Database) -> Aggregates:
        """The plan of features with the labels of ``db``, of which past ones are features, too."""
        if self._plan is None or self._plan[0] is not db:
            self._plan = db, Aggregates.from_dict(db, self.labelled_task(db), self.meta["aggregates"])
        return self._plan[1]

    def _table(self, asked: Asked, values: np.ndarray) -> pd.DataFrame:
        times = asked.seed_time.astype("datetime64[us]")
        columns: dict[str, Any] = {"pkey": asked.pkey.to_pandas(), "seed_time": times}
        if values.ndim == 1:
            columns["prediction"] = values
        elif self.task.task_type == "multistep_regression":
            columns["prediction"] = values[:, 0]
            columns |= {f"prediction({i + 1})": values[:, i] for i in range(1, values.shape[1])}
        else:
            classes = np.asarray(self.task.classes, dtype=object)
            if self.task.task_type == "multiclass_classification":
                columns["prediction"] = classes[values.argmax(axis=1)]
            columns |= {f"p({name})": values[:, i] for i, name in enumerate(classes)}
        return pd.DataFrame(columns)


def check_split(split: str, regime: str | None = None) -> None:
    """Raises :class:`UnknownNameError` if there is no such split or regime."""
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if regime is not None and regime not in REGIMES:
        raise unknown_name("regime", regime, REGIMES)


def make_model(
    schema: Schema, statistics: Statistics, task: Task, config: ModelConfig, encoder: EncoderFactory | None
) -> RelationalModel | Ensemble:
    """The model of a task with fresh weights."""

    def member() -> RelationalModel:
        return RelationalModel(
            schema,
            statistics,
            task.entity_table,
            str(task.task_type.value),
            config,
            num_classes=task.num_outputs,
            encoder=encoder,
        )

    return member() if config.members == 1 else Ensemble([member() for _ in range(config.members)])
