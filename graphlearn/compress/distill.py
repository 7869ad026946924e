"""Trains a student that needs no graph to score links as a teacher that does."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from graphlearn.compress.context import ContextSampler
from graphlearn.compress.llp import LLPLoss, LogitMatching, RepresentationMatching
from graphlearn.compress.student import take_rows
from graphlearn.errors import GraphLearnError, check_positive
from graphlearn.nn.head import LinkHead
from graphlearn.ops.csr_check import check_pairs, check_range
from graphlearn.sampling.free_pairs import FreePairs
from graphlearn.tasks.link_metrics import hits_at
from graphlearn.training.progress import ProgressBar
from graphlearn.training.seed import epoch_generator, seed_dropout

_BLOCK = 1 << 15
"""Pairs that a teacher scores at a time."""

_SATURATED = 0.01
"""Share of decided pairs below which a teacher says too little about the order of contexts."""


@dataclass(frozen=True)
class DistillData:
    """What a student is trained on.

    Attributes:
        x: Features of the nodes, ``[N, C]`` float, dense or sparse CSR.
        edge_index: The graph that the teacher and the walks see, ``[2, E]`` int64, both directions of each edge.
        train: Links to learn, each once, ``[2, L]`` int64.
        val: Links that choose the epoch, ``[2, V]`` int64.
        val_negatives: Pairs that are no links, to rank them among, ``[2, M]`` int64.
    """

    x: Tensor | None
    edge_index: Tensor
    train: Tensor
    val: Tensor
    val_negatives: Tensor


@dataclass(frozen=True)
class DistillConfig:
    """Settings of the optimisation.

    Attributes:
        epochs: Most passes over the links.
        patience: Epochs without a better Hits@K of validation after which training ends.
        k: K of Hits@K.
        lr: Learning rate of Adam.
        grad_clip: Largest norm of a gradient, of the student and of the head.
        link_batch: Links of a step.
        anchors: Anchors of an epoch, a share of which each step takes; None: all nodes.
        rounds: Sets of anchors and contexts that are drawn and scored by the teacher, one in each of the first epochs;
            later epochs use them again in turn. With few anchors of an epoch take more of them, so that all nodes are
            met.
        low_precision: Whether contexts are scored in bfloat16; weights, links and losses stay as they are.
    """

    epochs: int = 2000
    patience: int = 100
    k: int = 20
    lr: float = 0.01
    grad_clip: float = 1.0
    link_batch: int = 65536
    anchors: int | None = None
    rounds: int = 10
    low_precision: bool = False

    def __post_init__(self) -> None:
        values = {name: value for name, value in vars(self).items() if value is not None and name != "low_precision"}
        check_positive(**values)


@dataclass
class DistillResult:
    """How a training went: the chosen epoch, its Hits@K of validation, and one record per epoch."""

    best_epoch: int = 0
    best_hits: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)


class LinkDistiller:
    """Teaches ``student`` and ``head`` to score links from features, as ``teacher`` scores them from the graph.

    With :class:`~graphlearn.compress.LLPLoss` the teacher is asked about contexts of every anchor, once per round, and
    its answers are kept in half precision: it takes no part in later epochs. With
    :class:`~graphlearn.compress.LogitMatching` it scores the labelled links of each epoch, with
    :class:`~graphlearn.compress.RepresentationMatching` its vectors are matched. ``LLPLoss(w_rank=0, w_dist=0)`` is no
    distillation: the student learns from labels alone.

    Source: Guo et al., "Linkless Link Prediction via Relational Distillation", arXiv:2210.05801.
    Differs from the paper: contexts are drawn anew in the first ``rounds`` epochs, not in all of them.

    Args:
        teacher: ``teacher(x, edge_index)`` gives a vector per node; any module or function.
        student: ``student(x)`` gives a vector per node from its own features.
        head: Scores links of the student, trained with it.
        teacher_head: Scores pairs of the teacher's vectors: ``teacher_head(src, dst)`` gives logits.
        loss: What is learned from the teacher.
        hops: Steps of a walk to near contexts.
        repeats: Walks of an anchor.
        ns_rate: Random contexts for each near one.
        config: Settings.
    """

    def __init__(
        self,
        teacher: Callable[[Tensor, Tensor], Tensor],
        student: Module,
        head: LinkHead,
        *,
        teacher_head: Callable[[Tensor, Tensor], Tensor],
        loss: LLPLoss | LogitMatching | RepresentationMatching | None = None,
        hops: int = 2,
        repeats: int = 3,
        ns_rate: int = 1,
        config: DistillConfig | None = None,
    ) -> None:
        self.teacher, self.teacher_head = teacher, teacher_head
        self.student, self.head = student, head
        self.loss = LLPLoss() if loss is None else loss
        self.contexts: dict[str, Any] = {"hops": hops, "repeats": repeats, "ns_rate": ns_rate}
        self.config = DistillConfig() if config is None else config

    def fit(self, data: DistillData, *, seed: int = 0, progress: bool = True) -> DistillResult:
        """Trains student and head in place, and leaves them with the weights that validation chose.

        Args:
            data: Features, graph and links.
            seed: Of negatives, contexts, order and dropout. The same seed gives the same numbers.
            progress: Whether a bar is shown on a terminal.

        Raises:
            ValueError: If the graph has no features, an index is out of range, or validation has fewer negatives than
                K.
            GraphLearnError: If the loss is no longer finite.
        """
        x = _checked(data, self.config.k)
        run = _Run(self, data, x, seed)
        optimizer = torch.optim.Adam([*self.student.parameters(), *self.head.parameters()], lr=self.config.lr)
        result, best = DistillResult(), self._weights()
        with ProgressBar(self.config.epochs, shown=progress) as bar:
            for epoch in range(1, self.config.epochs + 1):
                record = run.epoch(epoch, optimizer)
                hits = self._hits(data, x)
                result.history.append({"epoch": epoch, **record, "val_hits": hits})
                if hits > result.best_hits:
                    result.best_epoch, result.best_hits, best = epoch, hits, self._weights()
                bar.show(epoch, f"loss {record['loss']:.4f}, val hits@{self.config.k} {hits:.3f}")
                if epoch - result.best_epoch >= self.config.patience:
                    break
        for module, weights in zip((self.student, self.head), best, strict=True):
            module.load_state_dict(weights)
        return result

    def export(self) -> LinkStudent:
        """A copy of student and head as one module, ``[L, C]`` and ``[L, C]`` features in, ``[L]`` logits out."""
        return LinkStudent(copy.deepcopy(self.student), copy.deepcopy(self.head)).eval()

    def _weights(self) -> list[dict[str, Tensor]]:
        return [
            {name: value.detach().clone() for name, value in module.state_dict().items()}
            for module in (self.student, self.head)
        ]

    @torch.no_grad()
    def _hits(self, data: DistillData, x: Tensor) -> float:
        self.student.eval()
        self.head.eval()
        pairs = torch.cat([data.val, data.val_negatives], dim=1)
        nodes, inverse = _nodes_of([pairs], x.size(0))
        z = self.student(x if nodes is None else take_rows(x, nodes))
        score = self.head(z[inverse[0][0]], z[inverse[0][1]])
        return hits_at(score[: data.val.size(1)], score[data.val.size(1) :], self.config.k, ties="ogb")


class LinkStudent(Module):
    """A student and its head as one module: features of both ends of links in, logits out.

    Args:
        student: ``student(x)`` gives a vector per row.
        head: Scores pairs of vectors.

    Shapes:
        - ``x_src``, ``x_dst``: ``[L, C]`` float
        - returns ``[L]``, logits
    """

    def __init__(self, student: Module, head: LinkHead) -> None:
        super().__init__()
        self.student, self.head = student, head

    def forward(self, x_src: Tensor, x_dst: Tensor) -> Tensor:
        out: Tensor = self.head(self.student(x_src), self.student(x_dst))
        return out


class _Run:
    """One training: the teacher's vectors, the contexts with its scores, and the steps."""

    def __init__(self, distiller: LinkDistiller, data: DistillData, x: Tensor, seed: int) -> None:
        self.d, self.x, self.seed = distiller, x, seed
        self.num_nodes = x.size(0)
        self.train = data.train
        self.free = FreePairs(torch.cat([data.edge_index, data.train], dim=1), self.num_nodes)
        self.sampler = ContextSampler(data.edge_index, self.num_nodes, **distiller.contexts)
        self.pool: dict[int, tuple[Tensor, ...]] = {}
        loss = distiller.loss
        self.asks = not isinstance(loss, LLPLoss) or loss.needs_contexts
        if self.asks:
            for part in (distiller.teacher, distiller.teacher_head):
                if isinstance(part, Module):
                    part.eval()
            with torch.no_grad():
                self.teacher_z = distiller.teacher(x, data.edge_index).detach()

    def epoch(self, epoch: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """One pass over the links; the mean of each part of the loss."""
        config, generator = self.d.config, epoch_generator(self.seed, epoch)
        seed_dropout(self.seed, epoch)
        self.d.student.train()
        self.d.head.train()
        device = self.train.device
        negatives = self.free.draw(self.train.size(1), generator)
        order = torch.randperm(self.train.size(1), generator=generator).to(device)
        batches = torch.split(order, config.link_batch)
        parts = zip(*(part.tensor_split(len(batches)) for part in self._round(epoch, generator)), strict=True)
        totals: dict[str, Tensor] = {}
        for links, asked in zip(batches, parts, strict=True):
            pairs = torch.cat([self.train[:, links], negatives[:, links]], dim=1)
            found = self._loss(pairs, asked, generator)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(found["loss"])
            for module in (self.d.student, self.d.head):
                if weights := list(module.parameters()):
                    torch.nn.utils.clip_grad_norm_(weights, config.grad_clip)
            optimizer.step()
            for name, value in found.items():
                totals[name] = totals.get(name, 0.0) + value.detach() / len(batches)
        means = {name: float(value) for name, value in totals.items()}
        if not math.isfinite(means["loss"]):
            raise GraphLearnError(
                f"the loss of epoch {epoch} is {means['loss']}: the training diverged. "
                f"Take a lower learning rate than {config.lr}."
            )
        if epoch == 1 and isinstance(self.d.loss, LLPLoss) and self.d.loss.w_rank and means["active"] < _SATURATED:
            warnings.warn(
                f"The teacher decides the order of only {100 * means['active']:.2g} % of the pairs of contexts by more "
                f"than margin={self.d.loss.margin}: it says little about ranks. Take a smaller margin, a teacher that "
                f"was trained for fewer epochs, or more contexts.",
                stacklevel=3,
            )
        return means

    def _loss(self, pairs: Tensor, asked: tuple[Tensor, ...], generator: torch.Generator) -> dict[str, Tensor]:
        anchors = asked[0]
        loss, labels = self.d.loss, torch.zeros(pairs.size(1), device=pairs.device)
        found: dict[str, Tensor]
        labels[: pairs.size(1) // 2] = 1.0
        if isinstance(loss, LLPLoss) and loss.needs_contexts:
            contexts, teacher = asked[1].long(), asked[2]
            z, (pairs, anchors_at, contexts_at) = self._embed([pairs, anchors, contexts])
            scores = self._score_contexts(z, anchors_at, contexts_at)
            mask = contexts != anchors[:, None]
            found = loss(scores, teacher, mask, self._score(z, pairs), labels, generator=generator)
        elif isinstance(loss, LLPLoss):
            z, (pairs,) = self._embed([pairs])
            empty = z.new_zeros(0, 1)
            found = loss(empty, empty, None, self._score(z, pairs), labels)
        elif isinstance(loss, LogitMatching):
            with torch.no_grad():
                teacher = self.d.teacher_head(self.teacher_z[pairs[0]], self.teacher_z[pairs[1]])
            z, (pairs,) = self._embed([pairs])
            found = loss(self._score(z, pairs), teacher, labels)
        else:
            z, (pairs, anchors_at) = self._embed([pairs, anchors])
            found = loss(z[anchors_at], self.teacher_z[anchors], self._score(z, pairs), labels)
        return found

    def _embed(self, wanted: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The student's vectors of the nodes that are wanted, each once, and where each is."""
        nodes, places = _nodes_of(wanted, self.num_nodes)
        return self.d.student(self.x if nodes is None else take_rows(self.x, nodes)), places

    def _score(self, z: Tensor, pairs: Tensor) -> Tensor:
        embedding = torch.nn.functional.embedding  # its gradient is added up faster than that of indexing
        out: Tensor = self.d.head(embedding(pairs[0], z), embedding(pairs[1], z))
        return out

    def _score_contexts(self, z: Tensor, anchors: Tensor, contexts: Tensor) -> Tensor:
        low = self.d.config.low_precision
        with torch.autocast(z.device.type, torch.bfloat16, enabled=low):
            z = z.to(torch.bfloat16) if low else z
            return self.d.head.context(z[anchors], z, contexts).to(torch.float32 if low else z.dtype)

    def _round(self, epoch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The anchors ``[a]`` of an epoch, and if they have any their contexts and the teacher's logits, ``[a, m]``."""
        number = epoch % self.d.config.rounds
        if number not in self.pool:
            order = torch.randperm(self.num_nodes, generator=generator).to(self.train.device)
            anchors = order[: self.d.config.anchors]
            self.pool[number] = (anchors, *self._answers(anchors, generator))
        return self.pool[number]

    @torch.no_grad()
    def _answers(self, anchors: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        if not (isinstance(self.d.loss, LLPLoss) and self.d.loss.needs_contexts):
            return ()
        contexts, _ = self.sampler(anchors, generator)
        rows = max(1, _BLOCK // self.sampler.width)
        z, scores = self.teacher_z, []
        for some, theirs in zip(torch.split(anchors, rows), torch.split(contexts, rows), strict=True):
            scores.append(self._ask(z[some], z, theirs).half())
        return contexts.to(torch.int32), torch.cat(scores)

    def _ask(self, anchor: Tensor, z: Tensor, contexts: Tensor) -> Tensor:
        if isinstance(self.d.teacher_head, LinkHead):
            return self.d.teacher_head.context(anchor, z, contexts)
        flat = self.d.teacher_head(anchor.repeat_interleave(contexts.size(1), dim=0), z[contexts.flatten()])
        return flat.view(contexts.shape)


def _nodes_of(wanted: list[Tensor], num_nodes: int) -> tuple[Tensor | None, list[Tensor]]:
    """The nodes that occur, each once, and ``wanted`` by their places among them; None where it would be about all."""
    if sum(index.numel() for index in wanted) >= num_nodes:
        return None, wanted
    nodes, places = torch.unique(torch.cat([index.flatten() for index in wanted]), return_inverse=True)
    sizes = [index.numel() for index in wanted]
    return nodes, [place.view(index.shape) for place, index in zip(torch.split(places, sizes), wanted, strict=True)]


def _checked(data: DistillData, k: int) -> Tensor:
    """The features, if everything else fits them."""
    x = data.x
    if x is None or x.size(-1) == 0:
        raise ValueError(
            "The graph has no node features 'x', and a student reads nothing else. Give features that are known of new "
            "nodes too, or keep the teacher."
        )
    for name in ("edge_index", "train", "val", "val_negatives"):
        check_pairs(name, getattr(data, name), "L")
        check_range(f"'{name}'", getattr(data, name), x.size(0))
    if data.val_negatives.size(1) < k:
        raise ValueError(
            f"Hits@{k} ranks links among at least {k} pairs that are none, but 'val_negatives' has "
            f"{data.val_negatives.size(1)}. Give more of them, or a smaller k."
        )
    if _is_one_hot(x):
        warnings.warn(
            f"The {x.size(1)} features are one number per node: they say which node it is, and nothing about it. The "
            f"student cannot score new nodes.",
            stacklevel=3,
        )
    return x


def _is_one_hot(x: Tensor) -> bool:
    """Whether each row has one number only, no two of them in the same column."""
    if x.layout == torch.sparse_csr:
        ones, columns = bool((x.crow_indices().diff() == 1).all()), x.col_indices()
    else:
        ones, columns = bool(((x != 0).sum(dim=1) == 1).all()), (x != 0).to(torch.uint8).argmax(dim=1)
    return ones and torch.unique(columns).numel() == x.size(0)
