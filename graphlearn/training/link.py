"""Training and scoring of link predictors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from graphlearn.errors import check_positive
from graphlearn.models.link import LinkPredictor
from graphlearn.ops.neighbors import NeighborLists
from graphlearn.sampling.free_pairs import FreePairs
from graphlearn.sampling.link_split import LinkSplit
from graphlearn.tasks.link_metrics import check_metric, link_scores
from graphlearn.training.loop import TrainConfig, TrainState, make_optimizer, run_epochs

_PAIRS = 1 << 16  # scored at a time


@dataclass(frozen=True)
class LinkTrainConfig:
    """Settings of the training of a link predictor.

    Attributes:
        epochs: Most passes over the training links.
        batch_size: Links per step, each with one negative; None for a fifth of the training links.
        lr: Highest learning rate; reached after 5 % of the steps, then a cosine to zero.
        weight_decay: Of AdamW.
        grad_clip: Largest norm of a step's gradient.
        patience: Epochs without a better validation metric after which training ends.
        metric: The metric that chooses the epoch: ``auc``, ``ap``, ``mrr`` or ``hits@K``.
        negatives: The kind of validation negatives that it is taken against.
        mask: Whether a step takes the links that it asks for out of the graph, unless the model hides them itself. A
            model that sees them there learns to look for them, and fails where they are hidden.
    """

    epochs: int = 200
    batch_size: int | None = None
    lr: float = 0.01
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    patience: int = 30
    metric: str = "auc"
    negatives: str = "uniform"
    mask: bool = True

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs, lr=self.lr, grad_clip=self.grad_clip, patience=self.patience)
        if self.batch_size is not None:
            check_positive(batch_size=self.batch_size)
        check_metric(self.metric)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fit_links(
    model: LinkPredictor,
    x: Tensor | None,
    split: LinkSplit,
    config: LinkTrainConfig,
    *,
    seed: int,
    after_epoch: Callable[[TrainState, AdamW], None] | None = None,
) -> TrainState:
    """Trains ``model`` in place and leaves it with the weights of the best epoch on validation; reads no test link.

    Each step encodes the whole graph of training, without the links of its batch, and scores these and as many uniform
    negatives, which avoid the training links only: that a pair is a link of validation or test is not known yet.

    Args:
        model: With fresh weights.
        x: Features of the nodes, on the device of the model.
        split: On that device too.
        config: Settings.
        seed: Of the order, the negatives and dropout.
        after_epoch: Called with the state.

    Raises:
        ValueError: If a step would take all links out of the graph, or there are no such negatives.
        GraphLearnError: If the loss is no longer finite.
    """
    lessons = _LinkLessons(model, x, split, config)
    settings = TrainConfig(
        epochs=config.epochs, lr=config.lr, weight_decay=config.weight_decay, grad_clip=config.grad_clip,
        patience=config.patience,
    )  # fmt: skip
    return run_epochs(
        model, lessons, settings, seed=seed, state=TrainState(), optimizer=make_optimizer(model, settings),
        after_epoch=after_epoch,
    )  # fmt: skip


class _LinkLessons:
    """Links of a graph; see :class:`~graphlearn.training.loop.Lessons`."""

    higher, judged = True, True

    def __init__(self, model: LinkPredictor, x: Tensor | None, split: LinkSplit, config: LinkTrainConfig) -> None:
        self.model, self.x, self.split, self.config = model, x, split, config
        self.metric = config.metric
        kinds = split.negatives["val"]
        if config.negatives not in kinds:
            raise ValueError(
                f"the split has no '{config.negatives}' negatives of val, only {', '.join(kinds)}. Draw them with "
                f"with_negatives(split, '{config.negatives}', generator)."
            )
        links = split.positives["train"]
        self.batch_size = min(config.batch_size or -(-links.size(1) // 5), links.size(1))
        self.masked = config.mask and not model.hides_links
        if self.masked and self.batch_size == links.size(1):
            raise ValueError(
                f"a step over all {links.size(1):,} training links would take every link out of the graph. Take a "
                f"smaller 'batch_size', or mask=False to let the model see what it is asked for."
            )
        self.link_of_edge = _link_of_edge(split.graph["train"], links, split.num_nodes)
        # Nodes that training does not know of are no negatives either: all of their links are hidden.
        known = torch.ones(split.num_nodes, dtype=torch.bool, device=links.device) if split.new is None else ~split.new
        self.node = known.nonzero().flatten()
        label = known.cumsum(0) - 1
        num_src = None if split.num_src is None else int(known[: split.num_src].sum())
        self.free = FreePairs(label[torch.cat([links, split.graph["train"]], dim=1)], len(self.node), num_src)

    def plan(self) -> tuple[int, int]:
        return -(-self.split.positives["train"].size(1) // self.batch_size), self.config.epochs

    def losses(self, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        links, edge_index = self.split.positives["train"], self.split.graph["train"]
        order = torch.randperm(links.size(1), generator=generator).to(links.device)
        z = self.model.encode(self.x, edge_index) if self.model.hides_links else None
        for batch in torch.split(order, self.batch_size)[:steps]:
            if not self.model.hides_links:
                z = self.model.encode(self.x, self.without(batch) if self.masked else edge_index)
            negatives = self.node[self.free.draw(min(len(batch), self.free.num_left), generator)]
            yield self.model.loss(z, links[:, batch], negatives)

    def without(self, batch: Tensor) -> Tensor:
        """The graph of training without the links of a batch, in both directions and however often it has them."""
        asked = torch.zeros(self.split.positives["train"].size(1) + 1, dtype=torch.bool, device=batch.device)
        asked[batch] = True
        return self.split.graph["train"][:, ~asked[self.link_of_edge]]

    def judge(self) -> tuple[float, float]:
        found = score_split(predictor_scores(self.model, self.x, self.split, "val"), self.split, "val", [self.metric])
        return found[self.config.negatives][self.metric], 0.0


def _link_of_edge(edge_index: Tensor, links: Tensor, num_nodes: int) -> Tensor:
    """Which of ``links`` each edge is, in either direction; the number of links for none of them. ``[E]``."""
    if not links.size(1):
        return torch.zeros_like(edge_index[0])

    def key(pairs: Tensor) -> Tensor:
        return pairs.min(dim=0).values * num_nodes + pairs.max(dim=0).values

    value, order = key(links).sort()
    wanted = key(edge_index)
    place = torch.searchsorted(value, wanted).clamp_max(len(value) - 1)
    return torch.where(value[place] == wanted, order[place], links.size(1))


@torch.no_grad()
def predictor_scores(
    model: LinkPredictor, x: Tensor | None, split: LinkSplit, phase: str
) -> Callable[[Tensor], Tensor]:
    """A function that scores pairs ``[2, L]`` in the graph of a phase, encoded once; the model leaves training mode."""
    model.eval()
    z = model.encode(x, split.graph[phase])

    @torch.no_grad()
    def score(pairs: Tensor) -> Tensor:
        return torch.cat([model.score(z, part) for part in torch.split(pairs, _PAIRS, dim=1)])

    return score


def heuristic_scores(
    heuristic: Callable[[NeighborLists, Tensor], Tensor], split: LinkSplit, phase: str
) -> Callable[[Tensor], Tensor]:
    """A function that scores pairs ``[2, L]`` with a heuristic in the graph of a phase."""
    lists = split.lists(phase)
    return lambda pairs: heuristic(lists, pairs)


def score_split(
    score: Callable[[Tensor], Tensor], split: LinkSplit, phase: str, metrics: list[str]
) -> dict[str, dict[str, float]]:
    """The metrics of a phase against each kind of negatives that the split has; ``score`` takes pairs ``[2, L]``.

    Raises:
        UsageError: If a metric has no value, as Hits@K with fewer than K negatives.
    """
    links = split.positives[phase]
    pos = score(links)
    found = {}
    for kind, pairs in split.negatives[phase].items():
        neg = score(pairs.flatten(1)).reshape(pairs.shape[1:])
        found[kind] = link_scores(pos, neg, metrics)
    return found
