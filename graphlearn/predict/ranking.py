"""From a task that ranks to a trained ranking."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError
from graphlearn.graph import Statistics
from graphlearn.models import ModelConfig
from graphlearn.models.ranker import RANKERS, Ranker, tree_sizes
from graphlearn.models.rdl import EncoderFactory
from graphlearn.predict.ground import Ground, Prepared, Trained, digest
from graphlearn.predict.network import NetworkTraining
from graphlearn.schema import Database, Schema
from graphlearn.tasks import Task
from graphlearn.training.loop import TrainConfig
from graphlearn.training.pairs import Pairs, split_pairs
from graphlearn.training.ranking import ItemFeatures, PairLessons, Scoring

#: Train anchors whose items the spread of item features is taken from.
_FIT_TIMES = 16


#: A step looks at all items, or at many, so that few epochs of large batches are enough.
RANKING_SETTINGS = TrainConfig(epochs=8, batch_size=512, min_steps=300, patience=4)


def ranking_sizes(db: Database, task: Task) -> ModelConfig:
    """The ranking that a task gets where the user says nothing."""
    tree = tree_sizes(db.schema, task.entity_table, str(task.item_table))
    return ModelConfig(num_neighbors=tree, period=task.timedelta)


def make_ranker(
    schema: Schema, statistics: Statistics, task: Task, kind: str, config: ModelConfig, encoder: EncoderFactory | None
) -> Ranker:
    """The ranking of a task with fresh weights."""
    item_table = str(task.item_table)
    return Ranker(
        schema,
        statistics,
        task.entity_table,
        item_table,
        kind,
        config,
        num_item_features=ItemFeatures.width(schema, item_table),
        encoder=encoder,
    )


class _Trial:
    """One kind of ranking in training."""

    def __init__(self, ground: Ground, kind: str, graph: HeteroData, features: ItemFeatures, train: Pairs, agreed: str):
        self.ground, self.kind, self.graph, self.features = ground, kind, graph, features
        self.training: NetworkTraining[Pairs, Ranker] = ground.training(
            self._fresh, self._lessons, train, settings=ground.settings, agreed=agreed
        )

    def _fresh(self, labelled: Pairs) -> Ranker:
        ground = self.ground
        made = make_ranker(ground.db.schema, ground.statistics, ground.task, self.kind, ground.sizes, ground.encoder)
        if made.item is not None:
            times = torch.unique(labelled.seeds.seed_time)
            some = times[torch.linspace(0, len(times) - 1, min(_FIT_TIMES, len(times))).long()]
            made.item.fit_features(torch.cat([self.features.at(t) for t in some.tolist()]))
        return made.to(torch.device(ground.device))

    def _lessons(self, model: Ranker, labelled: Pairs, val: Pairs | None) -> PairLessons:
        task = self.ground.task
        return PairLessons(
            Scoring(model, self.graph, self.features),
            labelled,
            val,
            self.ground.settings,
            top=int(task.top or 1),
            longest_age=self.ground.longest_age,
            age_step=task.timedelta,
        )


def train_ranking(ground: Ground, model: str) -> Trained:
    """Trains rankings, and takes the one that ranks validation best.

    With ``auto`` each of :data:`RANKERS` is trained on train and judged on validation, which comes after it; with
    ``refit`` the best is trained again, for as many epochs as it took, on both.
    """
    started = time.perf_counter()
    graph = ground.graph()
    pairs = {
        split: split_pairs(graph, ground.task, split, ground.regime, labels=table)
        for split, table in ground.tables.items()
    }
    for split, part in pairs.items():
        if not len(part.relevant.col):
            raise TaskError(f"task '{ground.task.name}', {split}: no source has an item, so nothing can be ranked.")
    graph = graph.to(ground.device)
    features = ItemFeatures(graph, str(ground.task.item_table), ground.task.timedelta)
    agreed = digest(ground.facts, _tensors(pairs), ground.device)
    kinds = tuple(reversed(RANKERS)) if model == "auto" else (model,)
    trials = {
        kind: _Trial(_keeping(ground, kind, first=kind == kinds[0]), kind, graph, features, pairs["train"], agreed)
        for kind in kinds
    }
    first = trials[kinds[0]].training
    state = first.state if ground.resume else None
    ground.start(Prepared(len(pairs["train"]), len(pairs["val"]), ground.longest_age, graph, first.model, state=state))
    chosen = next((kind for kind, trial in trials.items() if trial.training.state.refit), None)
    if chosen is None:
        for trial in trials.values():
            trial.training.choose(pairs["val"])
        scores = {kind: trial.training.state.best_score for kind, trial in trials.items()}
        chosen = max(kinds, key=lambda kind: scores[kind])
        decided = {"scores": scores}
    else:
        decided = trials[chosen].training.state.decided
    training = trials[chosen].training
    if ground.refit:
        training.refit(pairs["train"].joined(pairs["val"]), decided)
    for kind in kinds[1:]:
        _partial(ground.partial, kind).unlink(missing_ok=True)
    choice = None
    if model == "auto":
        score = decided["scores"]
        told = ", ".join(f"{kind} {score[kind]:.4f}" for kind in kinds)
        choice = {"chosen": chosen, "why": f"map on validation: {told}", "folds": ["val"], "scores": score}
    return Trained(
        chosen,
        training.model,
        training.state,
        score=decided["scores"][chosen],
        choice=choice,
        timings={"network": time.perf_counter() - started},
    )


def _keeping(ground: Ground, kind: str, *, first: bool) -> Ground:
    """The ground with a file of its own for a kind; the first one's says that a training was interrupted."""
    tell = ground.on_epoch
    named = None if tell is None else lambda record: tell({**record, "kind": kind})
    if first:
        return replace(ground, on_epoch=named)
    partial = _partial(ground.partial, kind)
    return replace(ground, partial=partial, resume=ground.resume and partial.exists(), on_epoch=named)


def _partial(main: Path, kind: str) -> Path:
    return main.with_name(f"{kind}-{main.name}")


def _tensors(pairs: dict[str, Pairs]) -> list[Tensor]:
    return [
        tensor
        for part in pairs.values()
        for tensor in (
            part.seeds.index,
            part.seeds.seed_time,
            part.seeds.input_time,
            part.relevant.rowptr,
            part.relevant.col,
        )
    ]
