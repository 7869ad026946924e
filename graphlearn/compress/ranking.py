"""A ranking that reads two rows and no graph, taught by one that reads trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphlearn.compress.llp import LLPLoss
from graphlearn.models.rdl import ModelConfig
from graphlearn.training.loop import TrainConfig
from graphlearn.training.pairs import Pairs
from graphlearn.training.ranking import PairLessons, Scoring
from graphlearn.training.scoring import device_of

#: Items of each source that the teacher is asked about: those that it ranks highest, and as many drawn from all.
_NEAR, _ANYWHERE = 32, 32
#: Scores of all items that are held while the teacher is asked.
_HELD = 32 * 2**20
#: Near the largest float16: the difference of scores beyond it says nothing.
_MOST = 60_000.0


def student_sizes(config: ModelConfig) -> ModelConfig:
    """The sizes of a student: one layer, which reads the row itself and nothing that names it."""
    return replace(config, num_neighbors=(0,), row_dropout=0.0)


@dataclass(frozen=True)
class Contexts:
    """What a teacher says of some items for each source.

    Attributes:
        item: Rows of the item table, int64 ``[S, m]``.
        score: The teacher's scores, float16 ``[S, m]``; 0 of items that did not exist.
        known: Whether each existed, bool ``[S, m]``.
    """

    item: Tensor
    score: Tensor
    known: Tensor


def ask_teacher(
    teacher: Scoring,
    pairs: Pairs,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Contexts:
    """Asks a teacher once about a pool of items for each source; it takes no part in the training of the student.

    Args:
        teacher: The teacher.
        pairs: The sources.
        generator: Draws items.
        progress: Called with (sources done, sources in all).
    """
    teacher.model.eval()
    size = teacher.graph[teacher.model.item_table].num_nodes
    near, anywhere = min(_NEAR, size), min(_ANYWHERE, size)
    item = torch.zeros(len(pairs), near + anywhere, dtype=torch.int64)
    score = torch.zeros(item.shape, dtype=torch.float16)
    known = torch.zeros(item.shape, dtype=torch.bool)
    done = 0
    with torch.inference_mode():
        for at, items, seeds in teacher.groups(pairs.seeds.to(device_of(teacher.model)), max(1, _HELD // size)):
            every = teacher.scores(seeds, items).cpu()
            drawn = torch.randint(size, (len(at), anywhere), generator=generator)
            asked = torch.cat([every.topk(near, dim=1).indices, drawn], dim=1)
            said = every.gather(1, asked)
            item[at.cpu()], known[at.cpu()] = asked, said > -torch.inf
            score[at.cpu()] = said.masked_fill(said == -torch.inf, 0.0).clamp(-_MOST, _MOST).half()
            done += len(at)
            if progress is not None:
                progress(done, len(pairs))
    return Contexts(item, score, known)


class StudentLessons(PairLessons):
    r"""What a student is trained on: what came true, and what the teacher prefers.

    .. math:: L = w_L L_{label} + w_R L_R + w_D L_D

    with the softmax loss of :class:`PairLessons`, and over the contexts of each source the rank and distribution losses
    of :class:`~graphlearn.compress.LLPLoss`.

    Source: Guo et al., "Linkless Link Prediction via Relational Distillation", arXiv:2210.05801. Differs: contexts are
    items, the near ones those that the teacher ranks highest instead of those that walks meet; a softmax over items in
    place of the binary loss.

    Args:
        student: The student; see :func:`student_sizes`.
        train: Sources, each with items that came true.
        val: As of :class:`PairLessons`.
        config: Settings.
        contexts: What the teacher says of the sources of ``train``; None: the student learns from labels alone.
        loss: What is learned from the teacher; its weight of labels counts here, too.
        top: Places that the metric looks at.
        longest_age: As of :class:`PairLessons`.
        age_step: Likewise.
    """

    def __init__(
        self,
        student: Scoring,
        train: Pairs,
        val: Pairs | None,
        config: TrainConfig,
        *,
        contexts: Contexts | None,
        loss: LLPLoss,
        top: int,
        longest_age: int = 0,
        age_step: int = 1,
    ) -> None:
        super().__init__(student, train, val, config, top=top, longest_age=longest_age, age_step=age_step)
        self.contexts, self.distillation = contexts, loss

    def loss_of(self, pairs: Pairs, at: Tensor, generator: torch.Generator) -> Tensor:
        """As :meth:`PairLessons.loss_of`, and what the teacher prefers."""
        if self.contexts is None:
            return super().loss_of(pairs, at, generator)
        device = device_of(self.scoring.model)
        asked = self.contexts.item[at].to(device)
        score, columns, weight = self.scores(pairs, generator, asked.flatten())
        known = self.contexts.known[at].to(device)
        mine = _centred(score.gather(1, torch.searchsorted(columns, asked)), known)
        said = _centred(self.contexts.score[at].to(device, score.dtype), known)
        taught: Tensor = self.distillation(mine, said, known, generator=generator)["loss"]
        return self.distillation.w_label * self.label_loss(pairs, score, columns, weight) + taught


def _centred(score: Tensor, known: Tensor) -> Tensor:
    """Scores less their mean per source: those of a softmax have no zero of their own, which a probability needs."""
    return score - (score * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_min(1)
