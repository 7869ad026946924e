"""Why a prediction is what it is: the rows and columns that moved it, from trees and GNN alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from graphlearn.errors import UsageError, unknown_name
from graphlearn.features import Features
from graphlearn.models.gbdt import mean_prediction
from graphlearn.models.occlusion import keep_all
from graphlearn.predict.entities import Asked, asked_of_graph, time_asked
from graphlearn.predict.explain_features import rows_of_features, tree_effects
from graphlearn.predict.explain_rows import Scorer, describe, describe_own, feature_effects, strongest
from graphlearn.predict.explanation import Explanation, FeatureEffect, number
from graphlearn.predict.run import Run, check_values
from graphlearn.predict.shown_rows import Pick, show_rows
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.tasks.times import TimeLike, time_text
from graphlearn.training.scoring import forward, seed_known
from graphlearn.training.seeds import Seeds, with_features


@dataclass(frozen=True)
class Said:
    """What the parts of a run say of one entity.

    Attributes:
        prediction: Theirs together.
        output: Which of several outputs it is, or None.
        what: What the number is called.
        score: Scores the network's tree without some of its rows, the trees' part added; None without a network.
        features: What trees and network read of the entity, or None.
    """

    prediction: float
    output: int | None
    what: str
    score: Scorer | None
    features: Features | None


class Explainer:
    """Explains predictions of one run for one database, whose graph is built once.

    Args:
        run: The run.
        db: The database, as :meth:`Run.reading` gives it.
    """

    def __init__(self, run: Run, db: Database) -> None:
        self.run, self.db = run, db
        self.graph = run.graph(db) if run.model is None else run.graph(db).to(run.device)
        self.plan = None if run.aggregates is None else run.features(db)

    def explain(
        self, entity: object, *, at: TimeLike | None = None, top: int = 10, output: str | None = None
    ) -> Explanation:
        """See :func:`explain`."""
        if top < 1:
            raise UsageError(f"'top' must be > 0, got {top}.")
        task = self.run.task
        asked = asked_of_graph(task, self.db, self.graph, time_asked(task, at), [entity])
        said = self.say(asked, output)
        hidden = frozenset(task.remove_columns)
        (node,) = seeds_of(asked).index.tolist()
        effects, base = self.effects(said)
        picks: list[Pick] = []
        own: list[Pick] = []
        without = seen = None
        if said.score is not None:
            up, down = strongest(said.score, top)
            order = (up, down) if sum(up.step) + sum(down.step) >= 0 else (down, up)
            picks = [pick for side in order for pick in describe(said.score, side)]
            without = up.left, down.left
            batch = said.score.batch
            own = [describe_own(said.score)] if bool(batch.seed_known[0]) else []
            seen = {name: batch[name].rows.numel() - (name == task.entity_table) for name in self.graph.node_types}
        elif self.plan is not None and effects is not None:
            picks = rows_of_features(self.graph, self.plan.features, effects, node, int(asked.input_time[0]), top)
        rows = show_rows(self.db, self.graph, (task.entity_table, node), [*picks, *own], hidden)
        return Explanation(
            entity_table=task.entity_table,
            entity=asked.pkey[0].as_py(),
            seed_time=time_text(int(asked.seed_time[0])),
            task=task.name,
            what=said.what,
            prediction=said.prediction,
            base=base,
            rows=tuple(rows[: len(picks)]),
            without=without,
            own=rows[-1] if own else None,
            features=() if effects is None or said.features is None else _ranked(said.features, effects, top),
            seen=seen,
            notes=tuple(self._notes(asked, said, seen, bool(picks))),
        )

    def say(self, asked: Asked, output: str | None = None) -> Said:
        """What is predicted for one entity, and by what.

        Raises:
            UsageError: If the task has no classes to choose from.
            UnknownNameError: If there is no such class.
        """
        run = self.run
        features = None
        if self.plan is not None:
            features = self.plan.compute(self.db, asked.pkey, asked.seed_time, asked.input_time)
        trees = network = batch = None
        if run.trees is not None and features is not None:
            trees = run.weights["gbdt"] * mean_prediction(run.trees, features.values)[0]
        if run.model is not None:
            seeds = seeds_of(asked)
            if features is not None:
                seeds = with_features(seeds, features.values, run.network_aggregates)
            seeds = seeds.to(torch.device(run.device))
            sampler = TemporalNeighborSampler(self.graph, run.model.fan_out, strategy="last")
            batch = sampler.sample(seeds.node_type, seeds.index, seeds.input_time, seed_time=seeds.seed_time)
            batch.seed_known = seed_known(self.graph, seeds)
            if seeds.features is not None:
                batch.features = seeds.features
            run.model.eval()
            with torch.inference_mode():
                out = run.model.head.predict(forward(run.model, self.graph, batch))[0]
            network = run.weights["gnn"] * out.cpu().numpy()
        parts = [part for part in (trees, network) if part is not None]
        predicted = np.asarray(np.sum(parts, axis=0) if parts else run.meta["constant"], dtype=np.float64)
        chosen, what = choose_output(run.task, predicted, output)

        def one(values: np.ndarray) -> float:
            return float(values if chosen is None else values[chosen])

        score = None
        if run.model is not None and batch is not None:
            rest = 0.0 if trees is None else one(trees)
            score = Scorer(run.model, self.graph, batch, chosen, run.weights["gnn"], rest)
        return Said(one(predicted), chosen, what, score, features)

    def effects(self, said: Said) -> tuple[np.ndarray | None, float | None]:
        """What each feature adds, ``[F]``, and where the trees' effects start, if there are trees alone."""
        if said.features is None:
            return None, None
        effects = np.zeros(len(said.features.names))
        base = None
        if self.run.trees is not None:
            start, found = tree_effects(self.run.trees, said.features.values, said.output)
            effects += self.run.weights["gbdt"] * found[0]
            base = float(start[0]) if said.score is None else None
        if said.score is not None and "features" in said.score.batch:
            numbers = ~np.asarray(said.features.categorical, dtype=bool)
            effects[numbers] += feature_effects(said.score).numpy()
        return effects, base

    def _notes(self, asked: Asked, said: Said, seen: dict[str, int] | None, any_rows: bool) -> Iterator[str]:
        run, time = self.run, int(asked.seed_time[0])
        stores = [s for s in self.graph.node_stores if "time" in s and s.num_nodes > s.num_undated]
        oldest = min((int(s.time[s.num_undated]) for s in stores), default=None)
        if run.kind == "constant":
            yield "This run says the same of every row: no model that was tried said more."
        if oldest is not None and time < oldest:
            yield f"Nothing in the database is as old as {time_text(time)}: its first row is of {time_text(oldest)}."
        known = seed_known(self.graph, seeds_of(asked)) if said.score is None else said.score.batch.seed_known
        if not bool(known[0]):
            yield f"Its own row is newer than {time_text(time)}: it is predicted as one of which nothing is known."
        elif (seen is not None and not sum(seen.values())) or (seen is None and run.trees is not None and not any_rows):
            yield "It has no history: nothing but its own row was seen."
        if said.score is not None:
            unbounded = float(said.score(keep_all(said.score.batch))[0])
            if abs(said.prediction - unbounded) > 1e-6 * max(1.0, abs(unbounded)):
                yield (
                    f"The model says {number(unbounded)}, which was brought to {number(said.prediction)}, into the "
                    "range of the train labels; the effects are on what the model says."
                )
            if said.features is not None:
                yield (
                    "Rows are taken away from what the network reads; features keep their values. A feature's effect "
                    "in the network is that of its value against the median of the train rows."
                )
            if run.trees is not None:
                yield (
                    f"The prediction is {run.weights['gnn']:.0%} of what the network says and "
                    f"{run.weights['gbdt']:.0%} of what the trees say; all effects are weighed alike."
                )
        elif any_rows:
            yield "The trees read no rows but features made from them: a row has equal parts of the features it is in."


def seeds_of(asked: Asked) -> Seeds:
    """The entities as nodes of the graph they were looked up in."""
    assert asked.seeds is not None
    return asked.seeds


def _ranked(features: Features, effects: np.ndarray, top: int) -> tuple[FeatureEffect, ...]:
    order = np.argsort(-np.abs(effects), kind="stable")[:top]
    made = []
    for i in order[effects[order] != 0]:
        origin, value = features.origin[i], float(features.values[0, i])
        made.append(
            FeatureEffect(
                features.names[i],
                None if np.isnan(value) else value,
                float(effects[i]),
                origin.table or None,
                origin.column,
                origin.window,
            )
        )
    return tuple(made)


def explain(
    run: Run,
    db: Database | None = None,
    *,
    entity: object,
    at: TimeLike | None = None,
    top: int = 10,
    output: str | None = None,
) -> Explanation:
    """The rows and columns that moved one prediction.

    Rows are taken away from what the model saw, with all that only they lead to, and the rest is scored again; this is
    done exactly, for many rows in one pass, not approximated by gradients. The columns of the rows that matter are
    exchanged with those of other rows of their table. All numbers are in the unit of the prediction: differences of
    probabilities, or of values; a value is meant before it is kept within the range of the train labels.

    Args:
        run: The run.
        db: The database; by default the one that the run was trained on.
        entity: Primary key of the entity.
        at: The seed time, as for :meth:`Run.predict`.
        top: Most rows of each direction, and most features, > 0.
        output: Which class of a multiclass or multilabel task, by default the likeliest. Of several steps the first
            is explained.

    Raises:
        UsageError: If an argument means nothing for this task, or it ranks.
        UnknownNameError: If there is no such class.
        TaskError: If the entity does not exist.
    """
    check_values(run.task, "explain")
    with run.reading(db) as read:
        return Explainer(run, read).explain(entity, at=at, top=top, output=output)


def choose_output(task: Task, predicted: np.ndarray, output: str | None) -> tuple[int | None, str]:
    """Which output is explained, and what its number is called.

    Args:
        task: The task.
        predicted: The predictions for one entity, ``[]`` or ``[C]``.
        output: The class that was asked for.

    Raises:
        UsageError: If the task has no classes to choose from.
        UnknownNameError: If there is no such class.
    """
    kind = str(task.task_type.value)
    classes = [str(name) for name in task.classes] if kind.startswith(("multiclass", "multilabel")) else []
    if output is not None and not classes:
        raise UsageError(f"task '{task.name}' ({kind}) has no classes to choose from: leave it out.")
    if output is not None and output not in classes:
        raise unknown_name("class", output, classes)
    if classes:
        chosen = int(predicted.argmax()) if output is None else classes.index(output)
        return chosen, f"probability of '{classes[chosen]}'"
    if kind == "multistep_regression":
        return 0, "value of the first step"
    return None, "probability" if kind == "binary_classification" else "value"
