"""LPGNAS: architecture and bits of every part of a GNN, chosen together by gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlearn.compress.lpgnas.controller import Controller, Draw
from graphlearn.compress.lpgnas.costs import Costs, one_hot
from graphlearn.compress.lpgnas.network import SearchedNet
from graphlearn.compress.lpgnas.result import Derived, account
from graphlearn.compress.lpgnas.space import Architecture, QuantSpace, SearchSpace, architecture, decisions, values_of
from graphlearn.compress.lpgnas.supernet import Supernet
from graphlearn.compress.lpgnas.tasks import NodeTask, SearchTask, Split
from graphlearn.compress.quantize import Quantizer, calibrate
from graphlearn.errors import GraphLearnError, UsageError, check_positive
from graphlearn.training.progress import ProgressBar
from graphlearn.training.seed import epoch_generator, seed_dropout


@dataclass(frozen=True)
class Epoch:
    """One step of both levels: losses, and what the probabilities expect the network to take."""

    train_loss: float
    val_loss: float
    bytes: float
    bit_operations: float


@dataclass(frozen=True)
class _Found:
    """A network of the supernet: what it is chosen by, its choices, loss and score on validation."""

    target: float
    places: dict[str, int]
    loss: float
    score: float


class LPGNAS:
    r"""Searches architecture and bits of a GNN at once, in about the time that two networks take to train.

    Two levels, a step of each per epoch:

    .. math::
        w \leftarrow \arg\min_w \mathcal{L}_{train}(w, k), \qquad
        \alpha \leftarrow \arg\min_\alpha \mathcal{L}_{val}(w, k) + \lambda_s \log S(\alpha) + \lambda_o \log O(\alpha)

    with a network k drawn from the controller's logits :math:`\alpha` (see :class:`.controller.Controller`), S the
    bytes and O the bit operations expected of it (see :class:`.costs.Costs`). All networks share their weights (see
    :class:`.supernet.Supernet`). :meth:`derive` takes the best of the likeliest network and of some drawn ones on
    validation, costs included; :meth:`retrain` trains it from scratch.

    Source: Zhao et al., "Learned Low Precision Graph Neural Networks", arXiv:2009.09232.
    Differs from the paper, of which only the abstract and the accuracies were at hand: the list of choices, their
    logits without a network that makes them, the costs, and the choice among drawn networks are ours.

    Args:
        search_space: Choices of the architecture.
        quant_space: Choices of bits.
        size_weight: :math:`\lambda_s`, >= 0: what a model e times as large must gain in loss.
        ops_weight: :math:`\lambda_o`, >= 0, of bit operations.
        num_layers: Blocks.
        epochs: Steps of the search.
        warmup: Of these, the first ones that train weights only, on networks drawn evenly.
        lr: Learning rate of the weights.
        controller_lr: Of the controller.
        weight_decay: Of the weights.
        dropout: Before each layer, in [0, 1).
        temperature: Of the draws, at the start and at the end.
        candidates: Networks that :meth:`derive` draws to choose from.
        seed: Of first weights, draws and dropout. Same seed, same search.

    Raises:
        UsageError: If a number is out of its range.
    """

    def __init__(
        self,
        search_space: SearchSpace | None = None,
        quant_space: QuantSpace | None = None,
        *,
        size_weight: float = 0.05,
        ops_weight: float = 0.0,
        num_layers: int = 2,
        epochs: int = 200,
        warmup: int = 50,
        lr: float = 0.01,
        controller_lr: float = 0.05,
        weight_decay: float = 5e-4,
        dropout: float = 0.5,
        temperature: tuple[float, float] = (1.0, 0.1),
        candidates: int = 50,
        seed: int = 0,
    ) -> None:
        check_positive(num_layers=num_layers, epochs=epochs, lr=lr, controller_lr=controller_lr)
        if size_weight < 0 or ops_weight < 0 or weight_decay < 0 or candidates < 0:
            raise UsageError(
                "'size_weight', 'ops_weight', 'weight_decay' and 'candidates' must not be negative, got"
                f" {size_weight}, {ops_weight}, {weight_decay} and {candidates}."
            )
        if not 0 <= warmup < epochs:
            raise UsageError(f"'warmup' must be from 0 to below the {epochs} epochs, got {warmup}.")
        if not 0.0 <= dropout < 1.0:
            raise UsageError(f"'dropout' must lie in [0, 1), got {dropout}.")
        if not 0 < temperature[1] <= temperature[0]:
            raise UsageError(f"'temperature' must fall and stay above 0, got {temperature[0]} to {temperature[1]}.")
        self.space, self.quant = search_space or SearchSpace(), quant_space or QuantSpace()
        self.options = decisions(self.space, self.quant, num_layers)
        self.size_weight, self.ops_weight = size_weight, ops_weight
        self.num_layers, self.epochs, self.warmup = num_layers, epochs, warmup
        self.lr, self.controller_lr, self.weight_decay = lr, controller_lr, weight_decay
        self.dropout, self.temperature, self.candidates, self.seed = dropout, temperature, candidates, seed
        self.controller = Controller(self.options)
        self.history: list[Epoch] = []
        self._state: tuple[SearchTask, Supernet, Costs] | None = None

    def fit(self, data: Data | SearchTask, *, progress: bool = False) -> LPGNAS:
        """Searches on train and validation; the test split is not read.

        Args:
            data: A graph with masks for a :class:`.tasks.NodeTask`, or any task.
            progress: Whether a bar is shown on a terminal.

        Raises:
            GraphLearnError: If the loss is no longer finite.
        """
        task = _as_task(data)
        x = task.inputs("train").x
        generator = epoch_generator(self.seed, -1)
        supernet = Supernet(
            task.in_channels,
            task.out_channels,
            self.space,
            self.quant,
            num_layers=self.num_layers,
            dropout=self.dropout,
            generator=generator,
        ).to(x.device, x.dtype)
        costs = self._costs(task)
        self.controller.reset_parameters()
        self.history = []
        weights = torch.optim.Adam(supernet.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        logits = torch.optim.Adam(self.controller.parameters(), lr=self.controller_lr, betas=(0.5, 0.999))
        start, end = self.temperature
        with ProgressBar(self.epochs, shown=progress) as bar:
            for epoch in range(self.epochs):
                temperature = start * (end / start) ** (epoch / max(self.epochs - 1, 1))
                seed_dropout(self.seed, epoch)
                supernet.train()
                drawn = self.controller.draw(generator, temperature)
                train_loss = self._loss(task, supernet, drawn, "train", gated=False)
                _check_finite(train_loss, epoch, "train")
                weights.zero_grad()
                train_loss.backward()  # type: ignore[no-untyped-call]
                weights.step()

                supernet.eval()
                gated = epoch >= self.warmup
                with torch.set_grad_enabled(gated):
                    drawn = self.controller.draw(generator, temperature)
                    val_loss = self._loss(task, supernet, drawn, "val", gated=gated)
                    chances = {name: chance.double() for name, chance in self.controller.probabilities().items()}
                    size, operations = costs.size(chances), costs.operations(chances)
                    target = val_loss.cpu() + self._price(size, operations)
                if gated:
                    _check_finite(target, epoch, "validation")
                    # Of the controller alone: the weights are not to learn from validation.
                    (self.controller.logits.grad,) = torch.autograd.grad(target, self.controller.logits)
                    logits.step()
                self.history.append(
                    Epoch(*(float(value.detach()) for value in (train_loss, val_loss, size, operations)))
                )
                bar.show(epoch + 1, f"val loss {self.history[-1].val_loss:.3f}")
        self._state = task, supernet, costs
        return self

    def derive(self) -> Derived:
        """The network that the search chose, with its shared weights.

        Raises:
            UsageError: Before :meth:`fit`.
        """
        task, supernet, costs = self._fitted("derive")
        best = self._ranked()[0]
        picked = architecture(self.options, best.places)
        model = self._build(task, picked)
        model.load_state_dict(supernet.weights_of(picked), strict=False)
        if any(isinstance(module, Quantizer) for module in model.modules()):
            calibrate(model, ["train"], lambda net, split: _call(net, task, split))
        return self._derived(picked, model.eval(), costs, task, best.loss, best.score)

    def retrain(
        self,
        data: Data | SearchTask | None = None,
        *,
        chosen: Architecture | None = None,
        finalists: int = 1,
        epochs: int = 200,
        seed: int | None = None,
    ) -> Derived:
        """Trains the network that was chosen from scratch, rounded all along; the epoch of the best validation counts.

        Args:
            data: What to train on; by default what the search saw.
            chosen: Another architecture, say from JSON; by default that of :meth:`derive`.
            finalists: Trains so many of the best networks of the search, and keeps the best on validation, costs
                included. What shares its weights with all others says only roughly how good it will be alone.
            epochs: Passes.
            seed: Of first weights and dropout; by default that of the search.

        Raises:
            UsageError: Before :meth:`fit`, unless data and an architecture are given.
            GraphLearnError: If the loss is no longer finite.
        """
        check_positive(epochs=epochs, finalists=finalists)
        task = self._fitted("retrain")[0] if data is None else _as_task(data)
        costs = self._costs(task)
        if chosen is None:
            picked = [architecture(self.options, found.places) for found in self._ranked()[:finalists]]
        else:
            picked = [chosen]
        trained = [self._trained(task, costs, one, epochs, self.seed if seed is None else seed) for one in picked]
        return min(trained, key=self._target)

    def score(self, derived: Derived, split: Split = "test", data: Data | SearchTask | None = None) -> float:
        """The score of a network on a split: accuracy, or for links the area under the ROC curve.

        Raises:
            UsageError: If the task has no such split, or before :meth:`fit` without data.
        """
        task = self._fitted("score")[0] if data is None else _as_task(data)
        with torch.no_grad():
            return task.score(_call(derived.model.eval(), task, split), split)

    @torch.no_grad()
    def _ranked(self) -> list[_Found]:
        """The likeliest network and some drawn ones, the best on validation first, costs included."""
        task, supernet, costs = self._fitted("derive")
        supernet.eval()
        generator = epoch_generator(self.seed, self.epochs)
        drawn = [self.controller.likeliest()]
        drawn += [self.controller.draw(generator).places for _ in range(self.candidates)]
        found: dict[Any, _Found] = {}
        for places in drawn:
            out = self._run(task, supernet, architecture(self.options, places), "val")
            loss = float(task.loss(out, "val"))
            hot = one_hot(self.options, places)
            target = loss + float(self._price(costs.size(hot), costs.operations(hot)))
            found.setdefault(tuple(places.values()), _Found(target, places, loss, task.score(out, "val")))
        return sorted(found.values(), key=lambda one: one.target)

    def _trained(self, task: SearchTask, costs: Costs, picked: Architecture, epochs: int, seed: int) -> Derived:
        model = self._build(task, picked, seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        best, state, loss = -math.inf, model.state_dict(), math.nan
        for epoch in range(epochs):
            seed_dropout(seed, epoch)
            train_loss = task.loss(_call(model.train(), task, "train"), "train")
            _check_finite(train_loss, epoch, "train")
            optimizer.zero_grad()
            train_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                out = _call(model.eval(), task, "val")
                score, val_loss = task.score(out, "val"), float(task.loss(out, "val"))
            if score >= best:
                best, loss = score, val_loss
                state = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(state)
        return self._derived(picked, model, costs, task, loss, best)

    def _target(self, found: Derived) -> float:
        """What a network is chosen by: its loss on validation, and what it takes."""
        sizes = torch.tensor([found.bytes, found.bit_operations], dtype=torch.float64)
        return found.val_loss + float(self._price(*sizes))

    def _fitted(self, what: str) -> tuple[SearchTask, Supernet, Costs]:
        if self._state is None:
            raise UsageError(f"{what}() has no search to go by: call fit() first.")
        return self._state

    def _costs(self, task: SearchTask) -> Costs:
        inputs = task.inputs("val")
        nodes = inputs.x.size(0)
        return Costs(
            self.options,
            in_channels=task.in_channels,
            out_channels=task.out_channels,
            num_nodes=nodes,
            num_edges=inputs.edges.src.numel(),
            num_outputs=nodes if inputs.num_graphs is None else inputs.num_graphs,
        )

    def _price(self, size: Tensor, operations: Tensor) -> Tensor:
        return self.size_weight * size.log() + self.ops_weight * operations.log()

    def _loss(self, task: SearchTask, supernet: Supernet, drawn: Draw, split: Split, *, gated: bool) -> Tensor:
        picked = architecture(self.options, drawn.places)
        return task.loss(self._run(task, supernet, picked, split, drawn if gated else None), split)

    def _run(
        self, task: SearchTask, supernet: Supernet, picked: Architecture, split: Split, drawn: Draw | None = None
    ) -> Tensor:
        inputs = task.inputs(split)
        out: Tensor = supernet(
            inputs.x,
            inputs.edges,
            picked,
            None if drawn is None else drawn.gates,
            batch=inputs.batch,
            num_graphs=inputs.num_graphs,
        )
        return out

    def _build(self, task: SearchTask, picked: Architecture, seed: int | None = None) -> SearchedNet:
        x = task.inputs("train").x
        generator = epoch_generator(self.seed if seed is None else seed, -1)
        net = SearchedNet(task.in_channels, task.out_channels, picked, dropout=self.dropout, generator=generator)
        return net.to(x.device, x.dtype)

    def _derived(
        self, picked: Architecture, model: SearchedNet, costs: Costs, task: SearchTask, loss: float, score: float
    ) -> Derived:
        # Not from the search's own options: an architecture from elsewhere may hold others.
        options = {name: (value,) for name, value in values_of(picked).items()}
        only = Costs(
            options,
            in_channels=task.in_channels,
            out_channels=task.out_channels,
            num_nodes=costs.num_nodes,
            num_edges=costs.num_edges,
            num_outputs=costs.num_outputs,
        )
        chosen = one_hot(options, dict.fromkeys(options, 0))
        parts = {name: round(float(size)) for name, size in only.parts(chosen).items()}
        lines = account(picked, parts, task.in_channels)
        operations = float(only.operations(chosen))
        return Derived(picked, model, sum(parts.values()), operations, loss, score, lines)


def _as_task(data: Data | SearchTask) -> SearchTask:
    return NodeTask(data) if isinstance(data, Data) else data


def _call(model: torch.nn.Module, task: SearchTask, split: Split) -> Tensor:
    inputs = task.inputs(split)
    out: Tensor = model(inputs.x, inputs.edge_index, inputs.batch, inputs.num_graphs)
    return out


def _check_finite(loss: Tensor, epoch: int, split: str) -> None:
    if not bool(loss.isfinite()):
        found = float(loss.detach())
        raise GraphLearnError(
            f"the {split} loss is {found} in epoch {epoch + 1}. Scale the features, or give a smaller 'lr'."
        )
