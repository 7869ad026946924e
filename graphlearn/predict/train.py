"""From a database and a task to a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphlearn.errors import StorageError, UsageError, unknown_name
from graphlearn.features.aggregates import MAX_FEATURES
from graphlearn.graph import fit_statistics
from graphlearn.graph.text import TextEncoder
from graphlearn.models import ModelConfig
from graphlearn.models.ranker import RANKERS
from graphlearn.models.rdl import EncoderFactory, check_aggr
from graphlearn.predict.auto import train_chosen
from graphlearn.predict.ground import (
    Ground,
    Prepared,
    Trained,
    default_sizes,
    digest,
    label_tables,
    place,
    reach,
    seed_tensors,
    versions,
)
from graphlearn.predict.ranking import RANKING_SETTINGS, forget, ranking_sizes, train_ranking
from graphlearn.predict.ranking_run import load
from graphlearn.predict.run import Run
from graphlearn.schema import Database
from graphlearn.schema.manifest import manifest_dict
from graphlearn.tasks import Task
from graphlearn.tasks.task import REGIMES
from graphlearn.tasks.times import duration_us
from graphlearn.training.checkpoint import partial_path, save_run
from graphlearn.training.device import check_device
from graphlearn.training.loop import TrainConfig

MODELS = ("auto", "constant", "gbdt", "gnn", "fused")
"""Models of values; for rankings there are ``auto`` and :data:`~graphlearn.models.ranker.RANKERS`."""

#: Labels from which on steps of twice as many seeds are still enough steps; they take a third less time.
_MANY_LABELS = 25_600


def train(
    db: Database,
    task: Task,
    *,
    out: str | Path,
    model: str = "auto",
    regime: str = "frozen",
    seed: int = 0,
    device: str = "cpu",
    model_config: ModelConfig | None = None,
    train_config: TrainConfig | None = None,
    members: int | None = None,
    aggr: str | None = None,
    max_age: str | int | None = None,
    max_features: int = MAX_FEATURES,
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

    Trees and the decision of ``"auto"`` are made on rolling-origin folds: cuts before the start of test, each judged on
    what came after it. Of a network, validation chooses the number of epochs; then, with ``refit``, it is trained again
    for that many epochs on train and validation labels together, the newest ones included. Metrics of validation are
    those of the first model.

    After each epoch the training of a network is kept in ``<out>.partial.safetensors``; ``resume=True`` goes on from
    there and ends as if there had been no interruption (trees, which take seconds, are made again). ``out`` itself is
    whole or absent.

    Args:
        db: The database.
        task: What to predict.
        out: The run folder to write.
        model: ``"gbdt"``: trees on aggregates made from the schema. ``"gnn"``: a network on the rows. ``"fused"``: a
            network that reads both, and trees, together. ``"constant"``: one value for all. ``"auto"`` decides among
            them by what they say of labels at earlier cuts; ``run.meta["choice"]`` says how. For a task that ranks:
            ``"two-tower"``, ``"id-gnn"`` or ``"fused"``, see :class:`~graphlearn.models.ranker.Ranker`, and ``"auto"``
            takes the one that ranks validation best.
        regime: ``"frozen"`` or ``"rolling"``.
        seed: Of the initial weights and everything drawn; the same seed gives the same numbers on one machine.
        device: ``"cpu"`` or ``"cuda"``.
        model_config: Sizes of the model.
        train_config: Settings of the optimisation. By default many labels get larger batches.
        members: How many models predict together. By default few labels, of which a training costs little and depends
            much on the seed, get up to 4; or as ``model_config`` says.
        aggr: How networks pool neighbours: ``"mean"``, or ``"gnp"``, a norm whose kind is learned per relation and
            channel; by default as ``model_config`` says.
        max_age: Train rows see the database as it was up to so long before their own time, such as ``"90 days"``; 0 for
            no age. By default in ``frozen`` as far as test rows have to look, where earlier cuts show that it helps
            trees; in ``rolling`` none.
        max_features: Most aggregates; with 0 there are no trees, and networks read rows alone.
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
    check_arguments(out, model=model, regime=regime, device=device, aggr=aggr, resume=resume, force=force)
    ranks = task.item_table is not None
    check_model(task, model)
    if ranks and (aggr is not None or members is not None):
        raise UsageError("'aggr' and 'members' are for models of values, not for rankings: leave them out.")
    if max_features < 0:
        raise UsageError(f"'max_features' must be >= 0, got {max_features}.")
    settings = train_config or (RANKING_SETTINGS if ranks else TrainConfig())
    if members is not None and members < 1:
        raise UsageError(f"'members' must be > 0, got {members}.")
    if max_minutes is not None:
        settings = replace(settings, max_minutes=max_minutes)
    if refit and settings.max_minutes is not None:
        settings = replace(settings, max_minutes=settings.max_minutes / 2)
    partial = partial_path(out)
    oldest = None if max_age is None else as_age(max_age)
    try:
        tables = label_tables(task)
        statistics = fit_statistics(db, fit_until=task.val_time, hidden=task.remove_columns, text_encoder=text_encoder)
        if train_config is None and not ranks and tables["train"].num_rows > _MANY_LABELS:
            settings = replace(settings, batch_size=2 * settings.batch_size)
        sizes = model_config or (
            ranking_sizes(db, task) if ranks else default_sizes(db, task, tables["train"].num_rows, settings)
        )
        if members is not None:
            sizes = replace(sizes, members=members)
        if aggr is not None:
            sizes = replace(sizes, aggr=aggr)
        facts = {
            "model": model,
            "regime": regime,
            "seed": seed,
            "refit": refit,
            "max_age": oldest,
            "max_features": max_features,
            "model_config": sizes.to_dict(),
            "train_config": settings.to_dict(),
            "schema": manifest_dict(db.schema),
            "task": task.to_dict(),
            "fingerprint": db.fingerprint(),
            "encoder": _name(encoder),
            "text_encoder": _name(text_encoder),
            "versions": versions(),
        }
        automatic = reach(task, tables["val"], regime) if regime == "frozen" else 0
        ground = Ground(
            db,
            task,
            regime,
            seed,
            device,
            settings,
            sizes,
            statistics,
            tables,
            longest_age=automatic if oldest is None else oldest,
            max_age=oldest,
            max_features=max_features,
            refit=refit,
            resume=resume,
            partial=partial,
            facts=facts,
            encoder=encoder,
            text_encoder=text_encoder,
            progress=progress,
            on_start=on_start,
            on_epoch=on_epoch,
        )
        if ranks:
            trained = train_ranking(ground, model)
        else:
            trained = train_gnn(ground) if model == "gnn" else train_chosen(ground, model, sized=members is not None)
        state = trained.state
        metrics = {"best_epoch": state.best_epoch, "val": trained.score, "seconds": round(state.seconds, 3)}
        meta = {"source": place(db.source), **facts, **trained.to_dict(), "statistics": statistics.to_dict()}
        # What the network turned out to be: an automatic choice may give it features and fewer members.
        network = trained.network
        meta |= {"metrics": metrics, "model_config": (sizes if network is None else network.config).to_dict()}
        meta["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

        def add(folder: Path) -> None:
            for member, trees in enumerate(trained.trees):
                trees.save(folder, member)
            if task.labels_given:  # labels that only this process has
                task.save(folder / "task")

        weights = None if network is None else network.state_dict()
        save_run(out, weights, meta, state.history, force=force, add=add)
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
    forget(partial)
    return load(out, encoder=encoder, text_encoder=text_encoder, device=device, db=db)


def check_arguments(
    out: Path,
    *,
    model: str = "auto",
    regime: str = "frozen",
    device: str = "cpu",
    aggr: str | None = None,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Raises what can be said of the arguments of :func:`train` before anything is read.

    Raises:
        UnknownNameError: If there is no such model, regime, device or pooling.
        UsageError: If ``out`` or an interrupted training of it exists and was not asked for, or ``out`` is no run.
    """
    if model not in (*MODELS, *RANKERS):
        raise unknown_name("model", model, {*MODELS, *RANKERS})
    if regime not in REGIMES:
        raise unknown_name("regime", regime, REGIMES)
    check_device(device)
    if aggr is not None:
        check_aggr(aggr)
    check_out(out, force=force)
    if partial_path(out).exists() and not (resume or force):
        raise UsageError(
            f"{partial_path(out)} keeps an interrupted training of {out}. Go on with --resume, or start again with "
            "--force."
        )


def check_out(out: Path, *, force: bool) -> None:
    """Raises if a run folder may not be written to ``out``.

    Raises:
        UsageError: If it exists and was not to be replaced, or is no run.
    """
    if out.exists() and not force:
        raise UsageError(f"{out} exists. Name another run folder, or add --force to replace it.")
    if out.exists() and not (out.is_dir() and ((out / "run.json").is_file() or not any(out.iterdir()))):
        raise UsageError(f"{out} is not a run folder, so --force does not replace it. Name another place.")


def check_model(task: Task, model: str) -> None:
    """Refuses a model of values for a task that ranks, and the other way round.

    Raises:
        UsageError: Then.
    """
    known = ("auto", *RANKERS) if task.item_table is not None else MODELS
    if model not in known:
        what = f"ranks rows of '{task.item_table}'" if task.item_table is not None else "predicts values"
        raise UsageError(f"task '{task.name}' {what}, which '{model}' does not. Models for it: {', '.join(known)}.")


def train_gnn(ground: Ground) -> Trained:
    """A network alone: one training to choose the number of epochs, and with ``refit`` one on all labels."""
    graph = ground.graph()
    seeds = ground.seeds(graph)
    graph = graph.to(ground.device)
    agreed = digest(ground.facts, seed_tensors(seeds), ground.device)
    started = time.perf_counter()
    training = ground.network(graph, seeds["train"], sizes=ground.sizes, settings=ground.settings, agreed=agreed)
    counts = len(seeds["train"]), len(seeds["val"])
    state = training.state if ground.resume else None
    ground.start(Prepared(*counts, ground.longest_age, graph, training.model, state=state))
    training.choose(seeds["val"])
    if ground.refit:
        training.refit(seeds["train"].joined(seeds["val"]))
    timings = {"network": time.perf_counter() - started}
    return Trained("gnn", training.model, training.state, score=training.state.best_score, timings=timings)


def as_age(value: str | int) -> int:
    """``--max-age`` in microseconds: a duration such as ``"90 days"``; 0 for none.

    Raises:
        UsageError: If it is no duration.
    """
    return 0 if value in (0, "0") else duration_us(value, "max_age")


def _name(function: object) -> str | None:
    return None if function is None else getattr(function, "__name__", type(function).__name__)
