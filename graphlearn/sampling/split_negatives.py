"""More negatives for a split: hard ones, and ones by degree."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graphlearn.errors import unknown_name
from graphlearn.sampling.draw import distinct_pairs
from graphlearn.sampling.free_pairs import FreePairs
from graphlearn.sampling.link_split import PHASES, LinkSplit
from graphlearn.sampling.negative import degree_negatives, hard_negatives, uniform_negatives

NEGATIVES = ("uniform", "hard", "degree", "historical")
"""Kinds of negatives that a split may be scored against."""

_PER_SOURCE = 8  # different hard negatives of one source


def with_negatives(split: LinkSplit, kind: str, generator: torch.Generator) -> LinkSplit:
    """The split with ``uniform``, ``hard`` or ``degree`` negatives beside those it has, about one for each link.

    Hard ones are the nodes that resource allocation, in the graph of the phase, takes most for partners of a link's
    first end, at most eight different ones of each; a pair counts once, so there may be fewer than links.

    Raises:
        UnknownNameError: If there is no such kind.
        ValueError: If too few pairs without a link are left, or the split has no historical negatives.
    """
    if kind not in NEGATIVES:
        raise unknown_name("kind of negatives", kind, NEGATIVES)
    if all(kind in split.negatives.get(phase, {}) for phase in PHASES[1:]):
        return split
    if kind == "historical":
        raise ValueError(
            "historical negatives need times, and links that are asked for again: use a temporal split with "
            "repeats='keep' of links some of which do not come again."
        )
    known, found = split.known(), {}
    for phase in PHASES[1:]:
        links = split.positives[phase]
        if kind == "hard":
            drawn = _hard(split, known, phase, generator)
        else:
            draw = degree_negatives if kind == "degree" else uniform_negatives
            drawn = draw(known, split.num_nodes, links.size(1), generator=generator, num_src=split.num_src)
        found[phase] = {**split.negatives.get(phase, {}), kind: drawn}
    return replace(split, negatives=found)


def _hard(split: LinkSplit, known: Tensor, phase: str, generator: torch.Generator) -> Tensor:
    free = FreePairs(known, split.num_nodes, split.num_src)
    value = split.positives[phase][0].sort().values
    turn = torch.arange(len(value), device=value.device) - torch.searchsorted(value, value)
    left = int(free.left_for(value).min())
    num = max(1, min(_PER_SOURCE, left, int(turn.max()) + 1))
    first = turn == 0
    rows = hard_negatives(
        known, split.num_nodes, num, generator=generator, positives=value[first].expand(2, -1), num_src=split.num_src,
        graph=split.lists(phase),
    )  # fmt: skip
    row = first.cumsum(0) - 1
    return distinct_pairs(free, torch.stack([value, rows[row, turn % num]]))
