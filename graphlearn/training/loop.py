"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW
from torch_geometric.data import HeteroData

from graphlearn.errors import GraphLearnError, check_positive
from graphlearn.models import Ensemble, RelationalModel
from graphlearn.nn.aggr.gnp import order_parameters
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.tasks.metrics import bootstrap, primary_metric, score
from graphlearn.training.scoring import device_of, forward, predict_seeds, seed_loader
from graphlearn.training.seed import epoch_generator, seed_dropout
from graphlearn.training.seeds import Seeds, labels_of

#: Rows of validation from which on a standard error is too small to matter, and too slow to resample.
_MANY = 200_000


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the optimisation.

    Attributes:
        epochs: Passes over the train seeds. Tasks with few seeds get more of them, until there are ``min_steps`` steps.
        batch_size: Seeds per step.
        lr: Highest learning rate; reached after 5 % of the steps, then a cosine to zero.
        weight_decay: Of AdamW.
        grad_clip: Largest norm of a step's gradient.
        min_steps: Fewest steps of the whole training.
        max_steps: Most steps of one epoch.
        patience: Epochs without a better validation metric after which training ends.
        max_minutes: Time after which no new epoch begins.
        num_threads: Threads that sample ahead.
    """

    epochs: int = 5
    batch_size: int = 256
    lr: float = 3e-3
    weight_decay: float = 0.05
    grad_clip: float = 1.0
    min_steps: int = 150
    max_steps: int = 2000
    patience: int = 10
    max_minutes: float | None = None
    num_threads: int = 1

    def __post_init__(self) -> None:
        check_positive(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            grad_clip=self.grad_clip,
            max_steps=self.max_steps,
            patience=self.patience,
            num_threads=self.num_threads,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class TrainState:
    """All that a training needs to go on: after ``epoch`` epochs, resuming gives what going on would have given.

    ``refit`` is 0 while epochs are chosen on validation, then the number of epochs of the second training, whose
    weights are the result; ``best_epoch`` and ``best_score`` stay those of the choice. ``decided`` is what was
    concluded from the first training before the second began, as JSON.
    """

    epoch: int = 0
    refit: int = 0
    best_epoch: int = 0
    best_score: float = float("nan")
    seconds: float = 0.0
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    decided: dict[str, Any] = field(default_factory=dict)


def fit(
    model: RelationalModel | Ensemble,
    graph: HeteroData,
    train: Seeds,
    val: Seeds | None,
    config: TrainConfig,
    *,
    seed: int,
    longest_age: int = 0,
    age_step: int = 1,
    state: TrainState | None = None,
    optimizer: AdamW | None = None,
    after_epoch: Callable[[TrainState, AdamW], None] | None = None,
    after_step: Callable[[int, int, int], None] | None = None,
) -> TrainState:
    """Trains ``model`` in place and leaves it with the weights of the epoch that validation chooses.

    That is the latest epoch whose primary metric on ``val`` lies within one standard error of the best: what is
    smaller says nothing, and later epochs have a lower learning rate behind them (the one-standard-error rule of
    Breiman et al., "Classification and Regression Trees", 1984). In a refit it is the last one.

    Args:
        model: With fresh weights, or with those that belong to ``state``.
        graph: What the seeds see, on the device of the model.
        train: With labels.
        val: With labels; None in a refit, which trains for ``state.refit`` epochs.
        config: Settings.
        seed: Of the order, the ages, the samples and dropout.
        longest_age: Train seeds see rows up to a time drawn from this many microseconds before their own.
        age_step: Ages are multiples of this.
        state: Where an interrupted training stood, with ``optimizer`` in its state.
        optimizer: Of this model.
        after_epoch: Called with the state, to keep it and to tell of it.
        after_step: Called with (epoch, steps done, steps of the epoch).

    Raises:
        GraphLearnError: If the loss is no longer finite.
    """
    lessons = SeedLessons(model, graph, train, val, config, longest_age, age_step)
    return run_epochs(
        model,
        lessons,
        config,
        seed=seed,
        state=state or TrainState(),
        optimizer=optimizer or make_optimizer(model, config),
        after_epoch=after_epoch,
        after_step=after_step,
    )


class Lessons(Protocol):
    """What :func:`run_epochs` trains on."""

    metric: str
    higher: bool
    judged: bool

    def plan(self) -> tuple[int, int]:
        """(steps per epoch, epochs)."""
        ...

    def losses(self, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        """The loss of each step of an epoch, at most ``steps``; the model is in training mode."""
        ...

    def judge(self) -> tuple[float, float]:
        """The metric on validation, and its standard error."""
        ...


class SeedLessons:
    """Seeds with one label each; the arguments are those of :func:`fit`."""

    def __init__(
        self,
        model: RelationalModel | Ensemble,
        graph: HeteroData,
        train: Seeds,
        val: Seeds | None,
        config: TrainConfig,
        longest_age: int,
        age_step: int,
    ) -> None:
        self.model, self.graph, self.train, self.val, self.config = model, graph, train, val, config
        self.longest_age, self.age_step = longest_age, age_step
        self.metric, self.higher = primary_metric(model.head.task_type)
        self.judged = val is not None
        self.sampler = TemporalNeighborSampler(graph, model.fan_out, strategy="last")

    def plan(self) -> tuple[int, int]:
        return plan(len(self.train), self.config)

    def losses(self, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        device = device_of(self.model)
        seeds = self.train.aged(self.longest_age, self.age_step, generator).to(device)
        loader = seed_loader(
            self.graph,
            self.sampler,
            seeds,
            batch_size=self.config.batch_size,
            generator=generator,
            num_threads=self.config.num_threads,
        )
        for _, batch in zip(range(steps), loader, strict=False):
            yield self.model.head.loss(forward(self.model, self.graph, batch), batch.label)

    def judge(self) -> tuple[float, float]:
        assert self.val is not None
        predicted = predict_seeds(self.model, self.graph, self.val).numpy()
        return _judge(self.model.head.task_type, labels_of(self.val).numpy(), predicted)


def run_epochs(
    model: torch.nn.Module,
    lessons: Lessons,
    config: TrainConfig,
    *,
    seed: int,
    state: TrainState,
    optimizer: AdamW,
    after_epoch: Callable[[TrainState, AdamW], None] | None = None,
    after_step: Callable[[int, int, int], None] | None = None,
) -> TrainState:
    """The loop of :func:`fit`, whatever the lessons are."""
    sign = 1 if lessons.higher else -1
    steps, planned = lessons.plan()
    epochs = state.refit or planned  # a refit ends early on the same schedule, as the model that was chosen did
    planned = max(planned, epochs)  # more seeds may mean fewer epochs; after its end the rate would rise again
    while state.epoch < epochs and not _ended(state, config):
        started = time.perf_counter()
        generator = epoch_generator(seed, state.epoch)
        seed_dropout(seed, state.epoch)
        model.train()
        total = torch.zeros((), device=device_of(model))
        losses = lessons.losses(steps, generator)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * _schedule((state.epoch * steps + step + 0.5) / (planned * steps))
            with torch.autocast(total.device.type, torch.bfloat16, enabled=total.device.type == "cuda"):
                loss = next(losses, None)
            if loss is None:
                break
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            total += loss.detach()
            if after_step is not None:
                after_step(state.epoch, step + 1, steps)
        if not math.isfinite(total.item()):
            raise GraphLearnError(
                f"the loss of epoch {state.epoch + 1} is {total.item()}: the training diverged. "
                f"Take a lower learning rate than {config.lr}."
            )
        state.epoch += 1
        record: dict[str, Any] = {"epoch": state.epoch, "epochs": epochs, "loss": total.item() / steps}
        if not lessons.judged:
            record["refit"] = True
        else:
            value, error = lessons.judge()
            record |= {f"val_{lessons.metric}": value, "standard_error": error}
            scores = [r[f"val_{lessons.metric}"] for r in state.history] + [value]
            errors = [r["standard_error"] for r in state.history] + [error]
            top = max(range(len(scores)), key=lambda i: -math.inf if math.isnan(scores[i]) else sign * scores[i])
            # A metric without a value (validation of one class) cannot choose: the latest epoch is kept.
            if math.isnan(value) or sign * value >= sign * scores[top] - errors[top]:
                state.best_epoch, state.best_score = state.epoch, value
                state.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        state.seconds += time.perf_counter() - started
        state.history.append({**record, "seconds": round(time.perf_counter() - started, 3)})
        if after_epoch is not None:
            after_epoch(state, optimizer)
    if lessons.judged:
        model.load_state_dict(state.best)
    return state


def make_optimizer(model: torch.nn.Module, config: TrainConfig) -> AdamW:
    """AdamW over all parameters of the model; orders of norms do not decay, as 0 means nothing for them."""
    orders = set(order_parameters(model))
    weights = [parameter for parameter in model.parameters() if parameter not in orders]
    groups: list[dict[str, Any]] = [{"params": weights}]
    if orders:
        kept = [parameter for parameter in model.parameters() if parameter in orders]
        groups.append({"params": kept, "weight_decay": 0.0})
    return AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)


def plan(num_seeds: int, config: TrainConfig) -> tuple[int, int]:
    """(steps per epoch, epochs)."""
    steps = max(1, min(config.max_steps, math.ceil(num_seeds / config.batch_size)))
    return steps, max(config.epochs, math.ceil(config.min_steps / steps))


def _judge(task_type: str, label: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """The primary metric, and its standard error over resamples of the rows."""
    metric, _ = primary_metric(task_type)
    value = score(task_type, label, predicted)[metric]
    if math.isnan(value) or len(label) > _MANY:
        return value, 0.0
    low, high = bootstrap(task_type, label, predicted, metric=metric, seed=0, repeats=200, level=0.68)
    return value, (high - low) / 2


def _schedule(progress: float) -> float:
    return min(1.0, progress / 0.05) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _ended(state: TrainState, config: TrainConfig) -> bool:
    budget = math.inf if config.max_minutes is None else 60 * config.max_minutes
    if state.epoch > 0 and state.seconds >= budget * (2 if state.refit else 1):  # the choice took the first half
        return True
    return not state.refit and state.epoch - state.best_epoch >= config.patience and state.epoch > 0
