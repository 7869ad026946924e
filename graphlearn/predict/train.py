"""From a database and a task to a run folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import HeteroData

from graphlearn.database.sql import quote, time_us
from graphlearn.errors import StorageError, TaskError, UsageError, unknown_name
from graphlearn.graph import Statistics, build_graph, fit_statistics
from graphlearn.graph.text import TextEncoder
from graphlearn.models import Ensemble, ModelConfig, RelationalModel
from graphlearn.models.rdl import EncoderFactory
from graphlearn.native import kernels
from graphlearn.predict.run import Run, make_model
from graphlearn.schema import Database
from graphlearn.schema.manifest import manifest_dict
from graphlearn.tasks import Task
from graphlearn.tasks.labels import EmptySplitError
from graphlearn.tasks.task import REGIMES
from graphlearn.training.checkpoint import load_state, partial_path, save_run, save_state
from graphlearn.training.device import check_device
from graphlearn.training.loop import TrainConfig, TrainState, fit, make_optimizer, plan
from graphlearn.training.progress import ProgressBar
from graphlearn.training.seed import seed_dropout
from graphlearn.training.seeds import Seeds, labels_of, split_seeds

MODELS = ("gnn",)

#: Seeds that may be gone through, over all members, to have more than one; and the most members.
_SEEDS_TO_SPEND, _MOST_MEMBERS = 256_000, 4
#: Labels from which on steps of twice as many seeds are still enough steps; they take a third less time.
_MANY_LABELS = 25_600


@dataclass(frozen=True)
class Prepared:
    """What a training starts from; the command line tells of it before the first epoch."""

    graph: HeteroData
    statistics: Statistics
    model: RelationalModel | Ensemble
    train: Seeds
    val: Seeds
    longest_age: int
    state: TrainState | None = None


def train(
    db: Database,
    task: Task,
    *,
    out: str | Path,
    model: str = "gnn",
    regime: str = "frozen",
    seed: int = 0,
    device: str = "cpu",
    model_config: ModelConfig | None = None,
    train_config: TrainConfig | None = None,
    members: int | None = None,
    max_minutes: float | None = None,
    refit: bool = True,
    resume: bool = False,
    force: bool = False,
    encoder: EncoderFactory | None = None,
    text_encoder: TextEncoder | None = None,
    progress: bool = True,
    on_start: Callable[[Prepared], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Trains a model and writes its run folder; the test split is not read.

    Statistics are fitted on rows up to the start of validation. In the ``frozen`` regime validation rows see nothing
    after that start, and train rows see rows up to a random time before their own, as far back as test rows will have
    to look; in ``rolling`` every row sees all up to its own time.

    Validation chooses the number of epochs; then, with ``refit``, the model is trained again for that many epochs on
    train and validation labels together, the newest ones included. Metrics of validation are those of the first model.

    After each epoch the training is kept in ``<out>.partial.safetensors``; ``resume=True`` goes on from there and
    ends as if there had been no interruption. ``out`` itself is whole or absent.

    Args:
        db: The database.
        task: What to predict.
        out: The run folder to write.
        model: ``"gnn"``.
        regime: ``"frozen"`` or ``"rolling"``.
        seed: Of the initial weights and everything drawn; the same seed gives the same numbers on one machine.
        device: ``"cpu"`` or ``"cuda"``.
        model_config: Sizes of the model.
        train_config: Settings of the optimisation. By default many labels get larger batches.
        members: How many models predict together. By default few labels, of which a training costs little and depends
            much on the seed, get up to 4; or as ``model_config`` says.
        max_minutes: Time after which no new epoch begins; with ``refit`` half of it for each training.
        refit: Train again with the validation labels once the number of epochs is chosen.
        resume: Go on with an interrupted training of the same arguments.
        force: Replace ``out`` if it is a run, and forget an interrupted training of it.
        encoder: Makes the row encoder of a table; see :class:`RelationalModel`.
        text_encoder: Turns texts into vectors; see :func:`build_graph`.
        progress: Show a bar on stderr, if that is a terminal.
        on_start: Called before the first epoch.
        on_epoch: Called with the record of each epoch.

    Raises:
        UsageError: If an argument is wrong, or ``out`` exists.
        TaskError: If nothing can be learned from the labels.
        RunError: If there is nothing to resume, or it was another training.
        StorageError: If the run cannot be written.
    """
    out = Path(out)
    check_arguments(out, model=model, regime=regime, device=device, resume=resume, force=force)
    if task.task_type == "recommendation":
        raise UsageError(
            f"task '{task.name}' ranks rows (RANK TOP): its labels can be made, but there is no model for rankings "
            "yet. Ask about one of the rows with a condition, or use CLASSIFY."
        )
    settings = train_config or TrainConfig()
    if members is not None and members < 1:
        raise UsageError(f"'members' must be > 0, got {members}.")
    if max_minutes is not None:
        settings = replace(settings, max_minutes=max_minutes)
    if refit and settings.max_minutes is not None:
        settings = replace(settings, max_minutes=settings.max_minutes / 2)
    partial = partial_path(out)
    try:
        statistics = fit_statistics(db, fit_until=task.val_time, hidden=task.remove_columns, text_encoder=text_encoder)
        graph = build_graph(
            db, statistics=statistics, hidden=task.remove_columns, text_encoder=text_encoder, edge_index=False
        )
        seeds = {split: split_seeds(graph, task, split, regime) for split in ("train", "val")}
        _check_labels(task)
        if train_config is None and len(seeds["train"]) > _MANY_LABELS:
            settings = replace(settings, batch_size=2 * settings.batch_size)
        sizes = model_config or default_sizes(db, task, len(seeds["train"]), settings)
        if members is not None:
            sizes = replace(sizes, members=members)
        both = seeds["train"].joined(seeds["val"])

        def fresh(labelled: Seeds) -> RelationalModel | Ensemble:
            seed_dropout(seed, -1)
            made = make_model(db.schema, statistics, task, sizes, encoder)
            if "regression" in task.task_type:
                made.head.fit_range(labels_of(labelled))
            return made.to(device)

        network, graph = fresh(seeds["train"]), graph.to(device)
        optimizer = make_optimizer(network, settings)
        facts = {
            "model": model,
            "regime": regime,
            "seed": seed,
            "refit": refit,
            "model_config": sizes.to_dict(),
            "train_config": settings.to_dict(),
            "schema": manifest_dict(db.schema),
            "task": task.to_dict(),
            "fingerprint": db.fingerprint(),
            "encoder": _name(encoder),
            "text_encoder": _name(text_encoder),
            "versions": _versions(),
        }
        agreed = _digest(facts, seeds, device)
        if resume:
            state = load_state(partial, network, optimizer, agreed)
        else:
            state = TrainState()
            partial.unlink(missing_ok=True)
        ages = _longest_age(task, seeds["val"]) if regime == "frozen" else 0
        if on_start is not None:
            on_start(
                Prepared(graph, statistics, network, seeds["train"], seeds["val"], ages, state if resume else None)
            )

        def trained(labelled: Seeds, val: Seeds | None, name: str) -> TrainState:
            steps, epochs = plan(len(labelled), settings)
            epochs = state.refit or epochs
            with ProgressBar(steps * epochs, shown=progress) as bar:

                def after_epoch(now: TrainState, optim: torch.optim.AdamW) -> None:
                    save_state(partial, network.state_dict(), optim, now, agreed)
                    if on_epoch is not None:
                        with bar.paused():
                            on_epoch(now.history[-1])

                return fit(
                    network,
                    graph,
                    labelled,
                    val,
                    settings,
                    seed=seed,
                    longest_age=ages,
                    age_step=task.timedelta,
                    state=state,
                    optimizer=optimizer,
                    after_epoch=after_epoch,
                    after_step=lambda epoch, step, _: bar.show(epoch * steps + step, f"{name} {epoch + 1}/{epochs}"),
                )

        if not state.refit:
            state = trained(seeds["train"], seeds["val"], "epoch")
            if refit:
                network = fresh(both)
                optimizer = make_optimizer(network, settings)
                state = replace(state, epoch=0, refit=state.best_epoch, best={})
        if state.refit:
            state = trained(both, None, "refit")
        metrics = {"best_epoch": state.best_epoch, "val": state.best_score, "seconds": round(state.seconds, 3)}
        meta = {"source": _place(db.source), **facts, "statistics": statistics.to_dict(), "metrics": metrics}
        meta["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        save_run(out, network.state_dict(), meta, state.history, force=force, add=_own_labels(task))
    except KeyboardInterrupt as interrupt:
        if partial.exists():
            kept = f"{partial} keeps the training up to its last whole epoch; go on with --resume."
        else:
            kept = "No epoch was finished, so nothing is kept."
        raise KeyboardInterrupt(kept) from interrupt
    except StorageError as error:
        if not out.exists() and partial.exists() and str(partial) not in str(error):
            raise StorageError(f"{error} {partial} keeps the training: make room and go on with --resume.") from error
        raise
    partial.unlink(missing_ok=True)
    return Run(out, encoder=encoder, text_encoder=text_encoder, device=device, db=db)


def check_arguments(
    out: Path,
    *,
    model: str = "gnn",
    regime: str = "frozen",
    device: str = "cpu",
    resume: bool = False,
    force: bool = False,
) -> None:
    """Raises what can be said of the arguments of :func:`train` before anything is read.

    Raises:
        UnknownNameError: If there is no such model, regime or device.
        UsageError: If ``out`` or an interrupted training of it exists and was not asked for, or ``out`` is no run.
    """
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    if regime not in REGIMES:
        raise unknown_name("regime", regime, REGIMES)
    check_device(device)
    if out.exists() and not force:
        raise UsageError(f"{out} exists. Name another run folder, or add --force to replace it.")
    if out.exists() and not (out.is_dir() and ((out / "run.json").is_file() or not any(out.iterdir()))):
        raise UsageError(f"{out} is not a run folder, so --force does not replace it. Name another place.")
    if partial_path(out).exists() and not (resume or force):
        raise UsageError(
            f"{partial_path(out)} keeps an interrupted training of {out}. Go on with --resume, or start again with "
            "--force."
        )


def default_sizes(db: Database, task: Task, num_train: int, settings: TrainConfig) -> ModelConfig:
    """The model that a task gets where the user says nothing."""
    # Completing a column is reading the seed's own row, so that is never hidden.
    hidden = 0.0 if task.completes else ModelConfig.row_dropout
    return ModelConfig(period=_period(db, task), row_dropout=hidden, members=num_members(num_train, settings))


def num_members(num_train: int, settings: TrainConfig) -> int:
    """How many models a training on so many labels affords."""
    steps, epochs = plan(num_train, settings)
    return min(max(_SEEDS_TO_SPEND // (steps * epochs * settings.batch_size), 1), _MOST_MEMBERS)


def _check_labels(task: Task) -> None:
    """What would otherwise show only after the training."""
    if task.task_type == "multilabel_classification" and not task.classes:
        raise TaskError(f"task '{task.name}' has no class in train: every label is an empty list. Check the target.")
    if task.labels_given:  # those of test are kept in the run folder
        with contextlib.suppress(EmptySplitError):
            task.label_table("test")


def _longest_age(task: Task, val: Seeds) -> int:
    """How far past the cut the rows to predict reach: the evaluation period of the task, or validation's own."""
    asked = (task.num_eval_timestamps - 1) * task.step
    return max(asked, int((val.seed_time - val.input_time).max()))


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


def _own_labels(task: Task) -> Callable[[Path], None] | None:
    """Labels that only this process has go into the run folder, so that it can be evaluated later."""
    return (lambda folder: _save_task(task, folder)) if task.labels_given else None


def _save_task(task: Task, folder: Path) -> None:
    task.save(folder / "task")


def _name(function: object) -> str | None:
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def _digest(facts: dict[str, Any], seeds: dict[str, Seeds], device: str) -> str:
    """Changes when anything that the numbers depend on changes; a time budget does not."""
    settings = {k: v for k, v in facts["train_config"].items() if k not in ("max_minutes", "num_threads")}
    machine = {"device": device, "threads": torch.get_num_threads(), "native": kernels is not None}
    digest = hashlib.sha256(json.dumps({**facts, "train_config": settings, **machine}, sort_keys=True).encode())
    for part in seeds.values():
        for tensor in (part.index, part.seed_time, part.input_time, labels_of(part)):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _place(source: str) -> str:
    """A path that is found from another working directory, too."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _versions() -> dict[str, str]:
    names = ("graphlearn", "torch", "torch-geometric", "pytorch-frame", "duckdb", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
