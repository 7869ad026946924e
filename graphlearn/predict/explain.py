"""Why a prediction is what it is: the rows and columns that moved it, from trees and GNN alike."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import UsageError, unknown_name
from graphlearn.models.occlusion import keep_all
from graphlearn.predict.explain_rows import Scorer, describe, describe_own, strongest
from graphlearn.predict.explanation import Explanation, number
from graphlearn.predict.run import Run, as_keys, given_time, seeds_at, time_to_predict
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.tasks.times import TimeLike, time_text
from graphlearn.training.scoring import forward, seed_known
from graphlearn.training.seeds import Seeds


class Explainer:
    """Explains predictions of one run for one database, whose graph is built once.

    Args:
        run: The run.
        db: The database, as :meth:`Run.reading` gives it.
    """

    def __init__(self, run: Run, db: Database) -> None:
        self.run, self.db = run, db
        self.graph = run.graph(db).to(run.device)
        self._sampler = TemporalNeighborSampler(self.graph, run.model.fan_out, strategy="last")

    def explain(
        self, entity: object, *, at: TimeLike | None = None, top: int = 10, output: str | None = None
    ) -> Explanation:
        """See :func:`explain`."""
        if top < 1:
            raise UsageError(f"'top' must be > 0, got {top}.")
        task, graph = self.run.task, self.graph
        given = given_time(task, at)
        keys = as_keys([entity], graph[task.entity_table].pkey.type, task)
        seeds = seeds_at(graph, task, keys, time_to_predict(task, graph, given))
        return self._explain(keys[0].as_py(), seeds, top, output)

    def score(self, seeds: Seeds, output: str | None = None) -> tuple[Scorer, float, str]:
        """What scores the tree of one seed, its prediction, and what that number is called."""
        model, seeds = self.run.model, seeds.to(torch.device(self.run.device))
        batch = self._sampler.sample(seeds.node_type, seeds.index, seeds.input_time, seed_time=seeds.seed_time)
        batch.seed_known = seed_known(self.graph, seeds)
        model.eval()
        with torch.inference_mode():
            predicted = model.head.predict(forward(model, self.graph, batch))[0].cpu()
        chosen, what = choose_output(self.run.task, predicted, output)
        prediction = float(predicted if chosen is None else predicted[chosen])
        return Scorer(model, self.graph, batch, chosen), prediction, what

    def _explain(self, entity: object, seeds: Seeds, top: int, output: str | None) -> Explanation:
        task = self.run.task
        score, prediction, what = self.score(seeds, output)
        hidden = frozenset(task.remove_columns)
        up, down = strongest(score, top)
        sides = [describe(self.db, score, side, hidden) for side in (up, down)]
        if sum(down.step) + sum(up.step) < 0:
            sides.reverse()
        known = bool(score.batch.seed_known[0])
        seen = {name: score.batch[name].rows.numel() for name in self.graph.node_types}
        seen[task.entity_table] -= 1
        time = int(seeds.seed_time[0])
        unbounded = float(score(keep_all(score.batch))[0])
        return Explanation(
            entity_table=task.entity_table,
            entity=entity,
            seed_time=time_text(time),
            task=task.name,
            what=what,
            prediction=prediction,
            rows=tuple(sides[0] + sides[1]),
            without=(up.left, down.left),
            own=describe_own(self.db, score, hidden) if known else None,
            seen=seen,
            notes=tuple(_notes(self.graph, seen, known, time, prediction, unbounded)),
        )


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
        UsageError: If an argument means nothing for this task.
        UnknownNameError: If there is no such class.
        TaskError: If the entity does not exist.
    """
    with run.reading(db) as read:
        return Explainer(run, read).explain(entity, at=at, top=top, output=output)


def choose_output(task: Task, predicted: Tensor, output: str | None) -> tuple[int | None, str]:
    """Which output is explained, and what its number is called.

    Args:
        task: The task.
        predicted: The predictions for one entity, ``[]`` or ``[C]``.
        output: The class that was asked for.

    Raises:
        UsageError: If the task has no classes to choose from.
        UnknownNameError: If there is no such class.
    """
    classes = [str(name) for name in task.classes] if "multi" in str(task.task_type.value) else []
    if output is not None and not classes:
        raise UsageError(f"task '{task.name}' ({task.task_type.value}) has no classes to choose from: leave it out.")
    if output is not None and output not in classes:
        raise unknown_name("class", output, classes)
    if classes:
        chosen = int(predicted.argmax()) if output is None else classes.index(output)
        return chosen, f"probability of '{classes[chosen]}'"
    if task.task_type == "multistep_regression":
        return 0, "value of the first step"
    return None, "probability" if task.task_type == "binary_classification" else "value"


def _notes(
    graph: HeteroData, seen: dict[str, int], known: bool, time: int, prediction: float, unbounded: float
) -> Iterator[str]:
    oldest = [int(s.time[s.num_undated]) for s in graph.node_stores if "time" in s and s.num_nodes > s.num_undated]
    if oldest and time < min(oldest):
        yield f"Nothing in the database is as old as {time_text(time)}: its first row is of {time_text(min(oldest))}."
    if not known:
        yield (
            f"Its own row is newer than {time_text(time)}: the prediction is that for something of which nothing is "
            "known."
        )
    elif not sum(seen.values()):
        yield "It has no history: nothing but its own row was seen."
    if abs(prediction - unbounded) > 1e-6 * max(1.0, abs(unbounded)):
        yield (
            f"The model says {number(unbounded)}, which was brought to {number(prediction)}, into the range of the "
            "train labels; the effects are on what the model says."
        )
