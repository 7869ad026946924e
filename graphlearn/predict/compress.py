"""A smaller run from a trained one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import HeteroData

from graphlearn.compress.llp import LLPLoss
from graphlearn.compress.ranking import StudentLessons, ask_teacher, student_sizes
from graphlearn.errors import UsageError, unknown_name
from graphlearn.models.ranker import Ranker
from graphlearn.predict.ground import digest, label_tables, reach
from graphlearn.predict.network import NetworkTraining
from graphlearn.predict.ranking import make_ranker, pair_tensors
from graphlearn.predict.ranking_run import RankingRun, load
from graphlearn.predict.run import Run
from graphlearn.predict.train import check_arguments
from graphlearn.schema import Database
from graphlearn.training.checkpoint import partial_path, save_run
from graphlearn.training.loop import TrainConfig
from graphlearn.training.pairs import Pairs, split_pairs
from graphlearn.training.progress import ProgressBar
from graphlearn.training.ranking import ItemFeatures, Scoring, judge
from graphlearn.training.seed import epoch_generator

STUDENTS = ("mlp",)
"""What a run can be distilled to: a network of two rows."""

#: Rows cost little, so there can be many passes.
_SETTINGS = TrainConfig(epochs=20, batch_size=512, min_steps=400, patience=5)
#: The order of the teacher's scores, and their distribution; the generator's epoch for the contexts.
_LOSS = LLPLoss(margin=0.1, w_label=1.0, w_rank=1.0, w_dist=1.0, use_logits=True)
_CONTEXT_EPOCH = 1_000_000
#: Times that one source is ranked to see how long that takes.
_TIMED = 20


@dataclass(frozen=True)
class Compressed:
    """What became of a run.

    Attributes:
        run: The smaller run.
        before, after: Metrics of validation, ``bytes`` of the weights, and ``ms``: median milliseconds to score all
            items for one source, rows and graph being in memory and items' vectors at hand.
    """

    run: RankingRun
    before: dict[str, float]
    after: dict[str, float]


def compress(
    run: Run,
    db: Database | None = None,
    *,
    out: str | Path,
    student: str = "mlp",
    seed: int = 0,
    train_config: TrainConfig | None = None,
    loss: LLPLoss | None = None,
    force: bool = False,
    progress: bool = True,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Compressed:
    """Distils a ranking into one that reads the row of the source and the row of the item, and no graph.

    The teacher is asked once about some items for each train source; the student learns what came true and what the
    teacher prefers, see :class:`~graphlearn.compress.ranking.StudentLessons`. Validation chooses its epoch; the test
    split is not read. What the rows themselves do not tell, a student cannot know: see ``docs/distillation.md``.

    Args:
        run: A run that ranks.
        db: The database with its labels; by default the one that the run was trained on.
        out: The run folder to write.
        student: One of :data:`STUDENTS`.
        seed: Of the weights and everything drawn.
        train_config: Settings of the optimisation.
        loss: What is learned from the teacher.
        force: Replace ``out`` if it is a run.
        progress: Show a bar on stderr, if that is a terminal.
        on_epoch: Called with the record of each epoch.

    Raises:
        UnknownNameError: If there is no such student.
        UsageError: If the run does not rank, or ``out`` exists.
        StorageError: If the run cannot be written.
    """
    out = Path(out)
    if student not in STUDENTS:
        raise unknown_name("student", student, STUDENTS)
    if not isinstance(run, RankingRun):
        raise UsageError(
            f"{run.folder} predicts values; a student is distilled from a run that ranks (RANK TOP), which scores "
            "pairs of rows."
        )
    check_arguments(out, force=force)
    with run.reading(db) as own:
        return _distil(run, own, out, seed, train_config or _SETTINGS, loss or _LOSS, force, progress, on_epoch)


def _distil(
    run: RankingRun,
    db: Database,
    out: Path,
    seed: int,
    settings: TrainConfig,
    loss: LLPLoss,
    force: bool,
    progress: bool,
    on_epoch: Callable[[dict[str, Any]], None] | None,
) -> Compressed:
    task = run.labelled_task(db)
    tables = label_tables(task)
    graph = run.graph(db)
    pairs = {split: split_pairs(graph, task, split, run.regime, labels=table) for split, table in tables.items()}
    train = pairs["train"].with_items()
    graph = graph.to(run.device)
    features = ItemFeatures(graph, str(task.item_table), task.timedelta)
    teacher = Scoring(run.ranker, graph, features)
    with ProgressBar(len(train), shown=progress) as bar:
        contexts = ask_teacher(
            teacher, train, epoch_generator(seed, _CONTEXT_EPOCH), lambda n, _: bar.show(n, "teacher")
        )
    sizes = student_sizes(run.model_config)
    asked = run.meta.get("max_age")
    automatic = reach(task, tables["val"], run.regime) if run.regime == "frozen" else 0
    longest_age = automatic if asked is None else int(asked)

    def fresh(labelled: Pairs) -> Ranker:
        made = make_ranker(run.schema, run.statistics, task, "two-tower", sizes, None)
        return made.to(torch.device(run.device))

    def lessons(model: Ranker, labelled: Pairs, val: Pairs | None) -> StudentLessons:
        return StudentLessons(
            Scoring(model, graph, features),
            labelled,
            val,
            settings,
            contexts=contexts,
            loss=loss,
            top=int(task.top or 1),
            longest_age=longest_age,
            age_step=task.timedelta,
        )

    facts = {"teacher": run.id, "seed": seed, "train_config": settings.to_dict(), "loss": repr(loss)}
    training: NetworkTraining[Pairs, Ranker] = NetworkTraining(
        fresh,
        lessons,
        settings,
        train=train,
        seed=seed,
        partial=partial_path(out),
        agreed=digest(facts, pair_tensors(pairs), run.device),
        progress=progress,
        on_epoch=on_epoch,
    )
    training.choose(pairs["val"])
    state = training.state
    metrics = {"best_epoch": state.best_epoch, "val": state.best_score, "seconds": round(state.seconds, 3)}
    meta = {
        **run.meta,
        "kind": "two-tower",
        "model": f"student of {run.id}",
        "seed": seed,
        "refit": False,
        "student_of": {"run": run.id, "kind": run.kind, "loss": repr(loss)},
        "model_config": sizes.to_dict(),
        "train_config": settings.to_dict(),
        "metrics": metrics,
        "choice": None,
        "timings": {"network": round(state.seconds, 3)},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }

    def add(folder: Path) -> None:
        if (run.folder / "task").is_dir():
            task.save(folder / "task")

    save_run(out, training.model.state_dict(), meta, state.history, force=force, add=add)
    partial_path(out).unlink(missing_ok=True)
    made = load(out, device=run.device, db=db)
    assert isinstance(made, RankingRun)
    before, after = (_measure(r, graph, features, pairs["val"], int(task.top or 1)) for r in (run, made))
    return Compressed(made, before, after)


def _measure(run: RankingRun, graph: HeteroData, features: ItemFeatures, val: Pairs, top: int) -> dict[str, float]:
    """Metrics of validation, bytes, and how long one source takes."""
    scoring = Scoring(run.ranker, graph, features)
    found = {name: float(values.nanmean()) for name, values in judge(scoring, val, top).items()}
    one = val.take(torch.tensor([0])).seeds.to(torch.device(run.device))
    times = []
    with torch.inference_mode():
        items = scoring.all_items(int(one.input_time[0]), int(one.seed_time[0]))
        for _ in range(_TIMED):
            started = time.perf_counter()
            scoring.scores(one, items)
            times.append(1e3 * (time.perf_counter() - started))
    size = (run.folder / "model.safetensors").stat().st_size
    return {**found, "bytes": float(size), "ms": float(np.median(times))}
