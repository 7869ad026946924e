"""Pairs without a link, to train against and to be scored against: uniform, by degree, hard, and historical.

All take the links to avoid as ``edge_index`` (each counts in both directions), and never give a link or a self-link.
``num`` pairs are drawn for the whole graph, ``[2, num]``, no pair twice; or, with ``positives`` ``[2, L]``, ``num``
nodes for the source (row 0) of each of these links, ``[L, num]``, no node twice in a row. With ``num_src`` the first so
many nodes are of one kind and the others of another, and pairs join two of different kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from graphlearn.ops.csr_check import check_pairs
from graphlearn.ops.heuristics import katz, resource_allocation
from graphlearn.ops.lists import contains
from graphlearn.ops.neighbors import NeighborLists, check_nodes
from graphlearn.sampling.draw import distinct_pairs, first_distinct, random_neighbor, walk_pairs
from graphlearn.sampling.free_pairs import FreePairs, undirected_pairs
from graphlearn.sampling.weighted import weighted_free, weighted_free_for

Score = Callable[[NeighborLists, Tensor], Tensor]


def uniform_negatives(
    edge_index: Tensor,
    num_nodes: int,
    num: int,
    *,
    generator: torch.Generator,
    positives: Tensor | None = None,
    num_src: int | None = None,
) -> Tensor:
    """Draws pairs without a link, each set of them equally likely; exact however few are left.

    On most graphs these are easy to tell from links, since random nodes are far apart.

    Raises:
        ValueError: If there are not as many, saying how many are left; or if an argument is wrong.
    """
    free = FreePairs(edge_index, num_nodes, num_src)
    if positives is None:
        return free.draw(num, generator)
    return free.draw_for(_sources(positives, free), num, generator)


def degree_negatives(
    edge_index: Tensor,
    num_nodes: int,
    num: int,
    *,
    generator: torch.Generator,
    positives: Tensor | None = None,
    num_src: int | None = None,
    power: float = 1.0,
) -> Tensor:
    r"""Draws pairs without a link one after the other, each end with a probability like its degree to a power.

    .. math:: P(u, v) \propto d_u^p \, d_v^p

    among the pairs that are left (with ``positives``: :math:`P(v \mid u) \propto d_v^p`). So degrees alone do not tell
    links from negatives. Nodes without a link are never drawn. Costs a few draws for each pair that is wanted; where
    few are left, all of them are weighed.

    Raises:
        ValueError: If there are not as many, saying how many are left; or if an argument is wrong.
    """
    free = FreePairs(edge_index, num_nodes, num_src)
    weight = torch.where(free.graph.degree() > 0, free.graph.degree().double().pow(power), 0.0)
    if positives is None:
        return weighted_free(free, weight, num, generator)
    return weighted_free_for(free, weight, _sources(positives, free), num, generator)


def hard_negatives(
    edge_index: Tensor,
    num_nodes: int,
    num: int,
    *,
    generator: torch.Generator,
    positives: Tensor | None = None,
    num_src: int | None = None,
    graph: NeighborLists | None = None,
    score: Score | None = None,
    pool: int = 32,
) -> Tensor:
    """The pairs without a link that a heuristic takes for links most, best first.

    Candidates are the ends of ``pool * num`` walks of two steps (three between two kinds of nodes), from the ends of
    random links or from each source; they are ranked by ``score``, of equal ones those that more walks found first by
    chance. Where walks find fewer, uniform negatives make up the number.

    After: Li et al., "Evaluating Graph Neural Networks for Link Prediction: Current Pitfalls and New Benchmarking",
    arXiv:2306.10453, which ranks all candidates of a link by several heuristics.

    Args:
        edge_index: The links to avoid, those that are to be predicted among them.
        num_nodes: Number of nodes.
        num: Pairs, or nodes for each of ``positives``.
        generator: To draw with.
        positives: See the module.
        num_src: See the module.
        graph: In which to walk and to score; by default that of ``edge_index``. To score a model fairly, the graph that
            it sees.
        score: Of pairs in a graph; by default resource allocation, between two kinds of nodes Katz.
        pool: Walks for each pair that is wanted.

    Raises:
        ValueError: If there are not as many pairs without a link, saying how many are left; or if an argument is wrong.
    """
    free = FreePairs(edge_index, num_nodes, num_src)
    graph = free.graph if graph is None else graph
    if pool < 1:
        raise ValueError(f"'pool' must be >= 1, got {pool}.")
    score = score or (resource_allocation if num_src is None else partial(katz, hops=3))
    steps = 2 if num_src is None else 3
    if positives is None:
        free.check_left(num)
        found = walk_pairs(graph, num * pool, steps, generator)
        found = distinct_pairs(free, found[:, free.is_free(found)])
        found = found[:, score(graph, found).argsort(descending=True, stable=True)[:num]]
        return _filled(free, found, num, generator)
    source = _sources(positives, free)
    free.check_left_for(source, num)
    walker = source[:, None].expand(-1, num * pool)
    for _ in range(steps):
        walker = random_neighbor(graph, walker, generator)
    fine = (walker >= 0) & _free_rows(free, source, walker.clamp_min(0))
    ends, fine = first_distinct(walker, fine, min(walker.size(1), num_nodes))
    value = torch.full(ends.shape, -torch.inf, dtype=torch.float64, device=ends.device)
    at = fine.nonzero().t()
    value[at[0], at[1]] = score(graph, torch.stack([source[at[0]], ends[at[0], at[1]]]))
    best = value.argsort(dim=1, descending=True, stable=True)[:, :num]
    return _filled_rows(free, source, ends.gather(1, best), fine.gather(1, best), num, generator)


def historical_negatives(
    edge_index: Tensor,
    time: Tensor,
    cut: int,
    num_nodes: int,
    num: int,
    *,
    generator: torch.Generator,
    positives: Tensor | None = None,
    num_src: int | None = None,
) -> Tensor:
    """Draws pairs that were linked at or before ``cut`` and are not afterwards.

    A model that only remembers links takes them for links. With ``positives``, uniform negatives (never linked at all)
    make up the number for sources with fewer former partners.

    After: Poursafaei et al., "Towards Better Evaluation for Dynamic Link Prediction", arXiv:2207.10128.

    Args:
        edge_index: Links with their times; a pair may be linked often.
        time: Of each, in the unit of ``cut``.
        cut: The last time of the history.
        num_nodes: Number of nodes.
        num: Pairs, or nodes for each of ``positives``.
        generator: To draw with.
        positives: See the module.
        num_src: See the module.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64;  ``time``: ``[E]`` int64

    Raises:
        ValueError: If there are not as many, saying how many are left; or if an argument is wrong.
    """
    check_pairs("edge_index", edge_index, "E")
    check_times(edge_index, time)
    free = FreePairs(edge_index, num_nodes, num_src)
    gone = former_links(edge_index, time, cut, num_nodes)
    if positives is None:
        if num > gone.size(1):
            raise ValueError(
                f"{num:,} historical negatives were asked for, but of the pairs linked up to time {cut} only "
                f"{gone.size(1):,} are not linked later. Ask for at most so many."
            )
        order = torch.randperm(gone.size(1), generator=generator, device=generator.device)[:num]
        return gone[:, order.to(gone.device)]
    source = _sources(positives, free)
    former = NeighborLists.from_edge_index(gone, num_nodes)
    drawn = random_neighbor(former, source[:, None].expand(-1, 4 * num), generator)
    ends, fine = first_distinct(drawn, drawn >= 0, num)
    return _filled_rows(free, source, ends, fine, num, generator)


def former_links(edge_index: Tensor, time: Tensor, cut: int, num_nodes: int) -> Tensor:
    """The pairs that are linked at or before ``cut`` and not afterwards, each once: ``[2, M]``."""
    past, later = (undirected_pairs(edge_index[:, part], num_nodes) for part in (time <= cut, time > cut))
    return past[:, ~contains(later[0] * num_nodes + later[1], past[0] * num_nodes + past[1])]


def check_times(edge_index: Tensor, time: Tensor) -> None:
    """Raises ``ValueError`` unless there is one whole number per edge."""
    if time.shape != edge_index.shape[1:] or time.dtype != torch.int64:
        raise ValueError(
            f"'time' must be an int64 tensor with one time per edge, [{edge_index.size(1)}], got {time.dtype} "
            f"{list(time.shape)}."
        )


def _sources(positives: Tensor, free: FreePairs) -> Tensor:
    check_nodes("positives", positives, free.num_nodes)
    return positives[0]


def _free_rows(free: FreePairs, source: Tensor, ends: Tensor) -> Tensor:
    """Whether each of ``ends`` ``[L, k]`` has no link to its row's source."""
    pairs = torch.stack([source[:, None].expand_as(ends).reshape(-1), ends.reshape(-1)])
    return free.is_free(pairs).reshape(ends.shape)


def _filled(free: FreePairs, found: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """``found`` ``[2, *]``, and uniform negatives behind it up to ``num``."""
    if found.size(1) >= num:
        return found[:, :num]
    return distinct_pairs(free, torch.cat([found, free.draw(num, generator)], dim=1))[:, :num]


def _filled_rows(
    free: FreePairs, source: Tensor, ends: Tensor, fine: Tensor, num: int, generator: torch.Generator
) -> Tensor:
    """The ``fine`` ones of ``ends`` ``[L, *]``, and uniform negatives behind them up to ``num``: ``[L, num]``."""
    # As many as are wanted in all: at most those found are among them again, so enough new ones are left.
    uniform = free.draw_for(source, num, generator)
    uniform = uniform.gather(1, torch.rand(uniform.shape, generator=generator).argsort(dim=1).to(uniform.device))
    return first_distinct(torch.cat([ends, uniform], 1), torch.cat([fine, fine.new_ones(uniform.shape)], 1), num)[0]
