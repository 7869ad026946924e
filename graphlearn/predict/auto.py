"""Which kind of model a task gets, decided by rolling-origin folds; and trees, which are fitted on the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from graphlearn.errors import UsageError
from graphlearn.features import Aggregates
from graphlearn.models import ModelConfig
from graphlearn.models.baselines import constant
from graphlearn.models.fused import share_of
from graphlearn.predict.ground import Ground, Prepared, Trained, digest, seed_tensors
from graphlearn.tasks.metrics import primary_metric, score
from graphlearn.tasks.times import duration_text, time_text
from graphlearn.training.checkpoint import check_state
from graphlearn.training.folds import Fold, rolling_origin
from graphlearn.training.loop import TrainConfig
from graphlearn.training.matrix import Matrix, make_matrix
from graphlearn.training.progress import ProgressBar
from graphlearn.training.scoring import predict_seeds
from graphlearn.training.search import Found, fit_trees, search_trees
from graphlearn.training.seeds import Seeds, network_columns

#: Labels that trees and folds look at; of more a sample, drawn from the seed.
_MOST_LABELS = 200_000
#: Seeds that the network of a choice goes through, over all members and epochs, and its most members: a trial has to be
#: affordable.
_TRIAL_SEEDS, _TRIAL_MEMBERS = 150_000, 2
#: Labels from which on fewer folds say as much.
_MANY_LABELS = 30_000


def train_chosen(ground: Ground, model: str, *, sized: bool) -> Trained:
    """Trains ``"constant"``, ``"gbdt"``, ``"fused"``, or what the folds speak for, ``"auto"``.

    Every kind that is tried says on each fold what it would have said then. Trees are fitted on all folds. A network
    costs minutes, so it is trained on the newest fold only (``"fused"``: with the trees' features as inputs); its share
    in the mean with the trees is what that fold likes best. What says no more than the constant is left out.

    Args:
        ground: What the training starts from.
        model: The kind.
        sized: Whether the user chose the number of members of a network.
    """
    if ground.resume:
        check_state(ground.partial)
    choice = _Choice(ground)
    if model == "constant" or choice.alike:
        return choice.constant(None if model == "constant" else "all labels of train are alike")
    if model == "gbdt" and not ground.max_features:
        raise UsageError("trees need features, and --max-features 0 leaves none. Take more, or --model gnn.")
    choice.plan_features()
    if model == "gbdt" and choice.found is None:
        return choice.constant("no feature of this database says anything about the labels")
    late = model == "auto" and choice.found is not None and not (ground.resume or choice.in_time())
    # Beside trees a network says most where it does not read what they read; one that does is worth asking for alone.
    choice.reads_features = model == "fused" and choice.matrix is not None
    if late or model == "gbdt":
        ground.start(Prepared(*choice.counts, ground.longest_age, aggregates=choice.plan))
        return choice.trees("there was no time left to try a network" if late else "it was asked for")
    return choice.network(model, sized)


class _Choice:
    """The folds of a task and what was said on them."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.kind = ground, ground.kind
        self.started = time.perf_counter()
        self.timings: dict[str, float] = {}
        task = ground.task
        labels = pa.concat_tables(
            [ground.tables[split].select(["pkey", "seed_time", "label"]) for split in ("train", "val")]
        )
        size = labels.num_rows
        rng = np.random.default_rng(ground.seed)
        kept = np.arange(size) if size <= _MOST_LABELS else np.sort(rng.choice(size, _MOST_LABELS, replace=False))
        self.kept = kept
        labels = labels.take(pa.array(kept))
        self.keys = labels["pkey"].combine_chunks()
        self.seed_time = labels["seed_time"].to_numpy()
        self.value = task.encode(labels)[0]
        self.counts = ground.tables["train"].num_rows, ground.tables["val"].num_rows
        span = max((task.num_eval_timestamps - 1) * task.step, int(self.seed_time.max()) - task.val_time, 0)
        self.folds: list[Fold] = rolling_origin(
            self.seed_time,
            window=task.timedelta,
            span=span,
            newest=task.val_time,
            most=4 if size <= _MANY_LABELS else 2,
        )
        if not self.folds:  # labels whose split the user chose, against the order of time
            train, all_rows = ground.tables["train"].num_rows, np.arange(len(kept))
            self.folds = [Fold(task.val_time, all_rows[kept < train], all_rows[kept >= train])]
        self.metric, self.higher = primary_metric(self.kind)
        self.scores: dict[str, list[float]] = {"constant": self._scores(self._constants())}
        self.plan: Aggregates | None = None
        self.reads_features = False
        self.matrix: Matrix | None = None
        self.found: Found | None = None

    @property
    def alike(self) -> bool:
        """Whether there is nothing to learn: one label for all."""
        first = self.value[self.folds[0].train]
        return bool((first == first[:1]).all())

    def in_time(self) -> bool:
        """Whether the time that the user gave is not yet over."""
        limit = self.ground.settings.max_minutes
        return limit is None or time.perf_counter() - self.started < 60 * limit

    def plan_features(self) -> None:
        """Makes the features and chooses the trees."""
        ground, task = self.ground, self.ground.task
        with self._stage("features", "features"):
            plan = Aggregates.plan(ground.db, task, max_features=ground.max_features)
            if not plan.names:
                return
            self.plan = plan
            self.matrix = make_matrix(
                ground.db,
                plan,
                self.keys,
                self.seed_time,
                self.value,
                self.folds,
                regime=ground.regime,
                longest_age=ground.longest_age,
                age_step=task.step,
                seed=ground.seed,
            )
        with self._stage("folds", "folds") as bar:
            self.found = search_trees(
                self.matrix,
                self.kind,
                num_classes=task.num_outputs,
                ages=self._ages(),
                seed=ground.seed,
                num_threads=torch.get_num_threads(),
                progress=lambda done, total: bar.show(100 * done // total, "folds"),
            )
        for age, scores in self.found.scores.items():
            self.scores[f"gbdt, {_age_text(age)}"] = scores
        self.scores["gbdt"] = self._scores(self.found.predictions)

    def constant(self, why: str | None) -> Trained:
        """One value for all rows."""
        self.ground.start(Prepared(*self.counts))
        rows = self.value if self.ground.refit else self.value[self.folds[0].train]
        said = constant(self.kind, rows, 1, num_classes=self.ground.task.num_outputs)[0]
        made = Trained("constant", constant=np.asarray(said), timings=self.timings)
        return self._told(made, "constant", why or "it was asked for", {})

    def trees(self, why: str) -> Trained:
        """Trees alone."""
        made = Trained("gbdt", trees=self._final_trees(), aggregates=self.plan, weights={"gbdt": 1.0})
        return self._told(made, "gbdt", why, made.weights)

    def network(self, model: str, sized: bool) -> Trained:
        """A network tried on the newest fold, and what it is worth beside the trees."""
        ground = self.ground
        with self._stage("graph", "graph"):
            graph = ground.graph()
            splits = ground.seeds(graph)
            graph = graph.to(ground.device)
            everything = splits["train"].joined(splits["val"]).take(self.kept)
        train, val = self._fold_seeds(everything)
        settings, sizes = self._trial(len(train), sized)
        agreed = digest(ground.facts, seed_tensors(splits), ground.device)
        training = ground.network(graph, train, sizes=sizes, settings=settings, agreed=agreed)
        state = training.state if ground.resume else None
        ground.start(Prepared(*self.counts, ground.longest_age, graph, training.model, self.plan, state))
        decided = training.state.decided
        if not training.state.refit:
            with self._stage("network", None):
                training.choose(val)
            said = predict_seeds(training.model, graph, val).numpy()
            decided = self._decide(model, said)
        self.scores |= decided["scores"]
        share, why = decided["share"], decided["why"]
        if decided["kind"] == "constant":
            return replace(self.constant(why), state=training.state)
        if share == 0:
            return replace(self.trees(why), state=training.state)
        if ground.refit:
            with self._stage("refit", None):
                training.refit(self._all_seeds(everything), decided)
        made = Trained("gnn", training.model, training.state)
        if share < 1:
            made = replace(made, kind="fused", aggregates=self.plan, trees=self._final_trees())
            made.weights = {"gnn": share, "gbdt": 1 - share}
        return self._told(made, made.kind, why, made.weights)

    def _decide(self, model: str, said: np.ndarray) -> dict[str, Any]:
        """What the newest fold says of a network, as JSON that an interrupted refit keeps."""
        label = self.value[self.folds[0].evaluate]
        network = "network" if self.reads_features else "gnn"
        scores = {network: [self._score(label, said)]}
        share, kind = 1.0, "network"
        if self.found is not None:
            trees = self.found.predictions[0]
            share = share_of(self.kind, label, said, trees)
            if model == "fused":
                share = min(max(share, 0.25), 0.75)
            scores["blend"] = [self._score(label, share * said + (1 - share) * trees)]
        best = scores.get("blend", scores[network])[0]
        base = self.scores["constant"][0]
        text = f"{self.metric} at {time_text(self.folds[0].cut)}: {network} {scores[network][0]:.4f}"
        if self.found is not None:
            text += f", trees {self.scores['gbdt'][0]:.4f}, {share:.0%} network {best:.4f}"
        text += f", constant {base:.4f}"
        if model == "auto" and not self._better(best, base) and not self._trees_help():
            kind = "constant"
        return {"share": share, "kind": kind, "why": text, "scores": scores}

    def _trees_help(self) -> bool:
        """Whether the trees are better than the constant over all folds; one fold may say too little."""
        if self.found is None:
            return False
        return self._better(float(np.nanmean(self.scores["gbdt"])), float(np.nanmean(self.scores["constant"])))

    def _better(self, one: float, other: float) -> bool:
        return bool(np.isnan(other) or (one > other if self.higher else one < other))

    def _ages(self) -> tuple[int, ...]:
        """Ages that the folds choose from: none, half as far as test rows have to look, as far."""
        ground, step = self.ground, self.ground.task.step
        if ground.max_age is not None:
            return (ground.max_age,)
        half = ground.longest_age // step // 2 * step
        return tuple(dict.fromkeys((0, half, ground.longest_age)))

    def _fold_seeds(self, everything: Seeds) -> tuple[Seeds, Seeds]:
        """The seeds of the newest fold with their features."""
        fold = self.folds[0]
        train, val = everything.take(fold.train), everything.take(fold.evaluate)
        val = replace(val, input_time=torch.from_numpy(fold.input_time(self.seed_time, self.ground.regime)))
        if self.reads_features:
            assert self.matrix is not None
            train = self._with_features(train, fold.train)
            val = replace(val, features=network_columns(self.matrix.evaluate[0], self.matrix.categorical))
        return train, val

    def _all_seeds(self, everything: Seeds) -> Seeds:
        return self._with_features(everything, np.arange(len(everything))) if self.reads_features else everything

    def _with_features(self, seeds: Seeds, rows: np.ndarray) -> Seeds:
        assert self.matrix is not None
        matrix = self.matrix
        times = torch.from_numpy(self.seed_time[rows] - matrix.ages[:, rows])
        return replace(
            seeds,
            features=network_columns(matrix.fresh[rows], matrix.categorical),
            aged_times=times,
            aged_features=network_columns(matrix.aged[:, rows], matrix.categorical),
        )

    def _trial(self, size: int, sized: bool) -> tuple[TrainConfig, ModelConfig]:
        """Settings of a network that costs no more than a trial may, where the user did not choose them."""
        settings, sizes = self.ground.settings, self.ground.sizes
        if not sized:
            sizes = replace(sizes, members=min(sizes.members, _TRIAL_MEMBERS))
        affordable = _TRIAL_SEEDS // (size * sizes.members)
        settings = replace(settings, epochs=max(1, min(settings.epochs, affordable)))
        if settings.max_minutes is not None:
            spent = (time.perf_counter() - self.started) / 60
            settings = replace(settings, max_minutes=max(settings.max_minutes - spent, 0.0))
        if self.reads_features:
            assert self.matrix is not None
            sizes = replace(sizes, num_features=int((~np.asarray(self.matrix.categorical, dtype=bool)).sum()))
        return settings, sizes

    def _final_trees(self) -> list[Any]:
        assert self.matrix is not None
        assert self.found is not None
        task = self.ground.task
        rows = np.arange(len(self.value)) if self.ground.refit else self.folds[0].train
        with self._stage("trees", "trees") as bar:
            return fit_trees(
                self.matrix,
                self.found,
                self.kind,
                which=rows,
                num_classes=task.num_outputs,
                seed=self.ground.seed,
                progress=lambda done, total: bar.show(100 * done // total, "trees"),
            )

    def _constants(self) -> list[np.ndarray]:
        classes = self.ground.task.num_outputs
        return [
            constant(self.kind, self.value[fold.train], len(fold.evaluate), num_classes=classes) for fold in self.folds
        ]

    def _scores(self, said: list[np.ndarray]) -> list[float]:
        pairs = zip(self.folds, said, strict=True)
        return [self._score(self.value[fold.evaluate], values) for fold, values in pairs]

    def _score(self, label: np.ndarray, values: np.ndarray) -> float:
        return score(self.kind, label, values)[self.metric]

    def _told(self, made: Trained, chosen: str, why: str, weights: dict[str, float]) -> Trained:
        """Adds what was tried and how it scored."""
        folds = [
            {"cut": time_text(fold.cut), "train": len(fold.train), "evaluate": len(fold.evaluate)}
            for fold in self.folds
        ]
        ages = {} if self.found is None else self.found.to_dict()
        made.choice = {
            "metric": self.metric,
            "chosen": chosen,
            "why": why,
            "weights": weights,
            "folds": folds,
            "scores": self.scores,
            **ages,
        }
        shown = "blend" if chosen == "fused" and "blend" in self.scores else chosen
        made.score = self.scores[shown][0]
        made.timings = self.timings
        return made

    @contextmanager
    def _stage(self, name: str, bar: str | None) -> Iterator[ProgressBar]:
        """Times a stage; with ``bar`` it shows one of that name."""
        started = time.perf_counter()
        with ProgressBar(100, shown=self.ground.progress and bar is not None) as shown:
            if bar is not None:
                shown.show(0, bar)
            yield shown
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - started


def _age_text(age: int) -> str:
    return "fresh" if age == 0 else f"up to {duration_text(age)} old"
