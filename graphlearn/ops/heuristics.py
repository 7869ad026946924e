"""Scores of pairs of nodes from the graph alone, without training: baselines of link prediction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from graphlearn.native import kernels
from graphlearn.ops.csr import gather_reduce
from graphlearn.ops.lists import contains, distinct, expand
from graphlearn.ops.neighbors import NeighborLists, check_nodes

_BLOCK_ENTRIES = 1 << 22  # neighbours looked up at a time in torch: some 100 MiB
_BLOCK_STATES = 1 << 22  # numbers of a block of walks: 32 MiB


def common_neighbors(graph: NeighborLists, edge_label_index: Tensor) -> Tensor:
    r"""The number of neighbours that the two ends of each pair share.

    .. math:: \mathrm{CN}(u, v) = |\Gamma(u) \cap \Gamma(v)|

    Costs ``O(d_u + d_v)`` for a pair of degrees d, ``O(d_u \log d_v)`` where :math:`d_v` is much the larger. In C++ on
    a CPU where the kernels are built, otherwise in torch.

    Source: Liben-Nowell, Kleinberg, "The Link Prediction Problem for Social Networks", CIKM 2003.

    Shapes:
        - ``edge_label_index``: ``[2, L]`` int64
        - returns ``[L]`` float64

    Raises:
        ValueError: If the pairs are not as above or name a node that is not there.
    """
    return _shared(graph, edge_label_index, None)


def adamic_adar(graph: NeighborLists, edge_label_index: Tensor) -> Tensor:
    r"""Shared neighbours, each counted the less the more neighbours it has.

    .. math:: \mathrm{AA}(u, v) = \sum_{w \in \Gamma(u) \cap \Gamma(v)} \frac{1}{\log d_w}

    A w of degree 1, which only a pair of a node with itself shares, counts nothing. Cost and shapes are those of
    :func:`common_neighbors`.

    Source: Adamic, Adar, "Friends and Neighbors on the Web", Social Networks 2003.

    Raises:
        ValueError: As :func:`common_neighbors`.
    """
    degree = graph.degree()
    return _shared(graph, edge_label_index, torch.where(degree > 1, 1 / degree.double().log(), 0.0))


def resource_allocation(graph: NeighborLists, edge_label_index: Tensor) -> Tensor:
    r"""Shared neighbours, each counted by the inverse of how many neighbours it has.

    .. math:: \mathrm{RA}(u, v) = \sum_{w \in \Gamma(u) \cap \Gamma(v)} \frac{1}{d_w}

    Cost and shapes are those of :func:`common_neighbors`.

    Source: Zhou, Lü, Zhang, "Predicting Missing Links via Local Information", arXiv:0901.0553.

    Raises:
        ValueError: As :func:`common_neighbors`.
    """
    return _shared(graph, edge_label_index, graph.degree().clamp_min(1).double().reciprocal())


def preferential_attachment(graph: NeighborLists, edge_label_index: Tensor) -> Tensor:
    r"""The product of the two degrees, :math:`\mathrm{PA}(u, v) = d_u d_v`; ``O(N + L)``.

    Source: Liben-Nowell, Kleinberg, "The Link Prediction Problem for Social Networks", CIKM 2003.

    Shapes:
        - ``edge_label_index``: ``[2, L]`` int64
        - returns ``[L]`` float64

    Raises:
        ValueError: As :func:`common_neighbors`.
    """
    check_nodes("edge_label_index", edge_label_index, graph.num_nodes)
    degree = graph.degree().double()
    return degree[edge_label_index[0]] * degree[edge_label_index[1]]


def katz(graph: NeighborLists, edge_label_index: Tensor, *, beta: float = 0.005, hops: int = 3) -> Tensor:
    r"""Walks between the two ends, counted by length, up to ``hops`` steps.

    .. math:: \mathrm{Katz}(u, v) = \sum_{l=1}^{\mathrm{hops}} \beta^l (\mathbf{A}^l)_{uv}

    Walks are counted from the distinct nodes of the side that has fewer of them, S, in blocks: ``O(S E hops)`` time
    and 32 MiB (or one column of N numbers).

    Source: Katz, "A New Status Index Derived from Sociometric Analysis", Psychometrika 1953.
    Differs from the source: the sum ends after ``hops`` steps.

    Shapes:
        - ``edge_label_index``: ``[2, L]`` int64
        - returns ``[L]`` float64

    Raises:
        ValueError: If ``beta`` or ``hops`` is not above zero, or as :func:`common_neighbors`.
    """
    if not beta > 0 or hops < 1:
        raise ValueError(f"'beta' must be > 0 and 'hops' >= 1, got {beta} and {hops}.")

    def walks(start: Tensor) -> Tensor:
        total = torch.zeros_like(start)
        for _ in range(hops):
            start = gather_reduce(start, graph.rowptr, graph.col) * beta
            total += start
        return total

    return _from_sources(graph, edge_label_index, walks, both=False)


def personalized_pagerank(
    graph: NeighborLists, edge_label_index: Tensor, *, alpha: float = 0.85, tol: float = 1e-6
) -> Tensor:
    r"""How likely walks that restart at one end are at the other, both ways added.

    .. math::
        \mathrm{PPR}(u, v) = \pi_u(v) + \pi_v(u), \qquad
        \boldsymbol\pi_u = (1 - \alpha) \sum_{k \ge 0} \alpha^k (\mathbf{A} \mathbf{D}^{-1})^k \mathbf{e}_u

    A walk goes on with probability :math:`\alpha`, and one that starts at a node without neighbours stays there. The
    sum ends once what is left of a walk is below ``tol``. Only one direction is computed, from the distinct nodes of
    the side that has fewer of them, S, since :math:`d_u \pi_u(v) = d_v \pi_v(u)` in an undirected graph:
    ``O(S E \log_\alpha \mathrm{tol})`` time and 32 MiB (or one column of N numbers).

    Source: Page, Brin, Motwani, Winograd, "The PageRank Citation Ranking", 1999.

    Shapes:
        - ``edge_label_index``: ``[2, L]`` int64
        - returns ``[L]`` float64

    Raises:
        ValueError: If ``alpha`` or ``tol`` is not between 0 and 1, or as :func:`common_neighbors`.
    """
    if not 0 < alpha < 1 or not 0 < tol < 1:
        raise ValueError(f"'alpha' and 'tol' must be between 0 and 1, got {alpha} and {tol}.")
    steps = math.ceil(math.log(tol) / math.log(alpha))
    inverse = graph.degree().clamp_min(1).double().reciprocal()[:, None]
    alone = (graph.degree() == 0)[:, None]

    def visits(start: Tensor) -> Tensor:
        total = start * (1 - alpha)
        for _ in range(steps):
            start = torch.where(alone, start, gather_reduce(start * inverse, graph.rowptr, graph.col)) * alpha
            total += start * (1 - alpha)
        return total

    return _from_sources(graph, edge_label_index, visits, both=True)


HEURISTICS: dict[str, Callable[[NeighborLists, Tensor], Tensor]] = {
    "cn": common_neighbors,
    "aa": adamic_adar,
    "ra": resource_allocation,
    "pa": preferential_attachment,
    "katz": katz,
    "ppr": personalized_pagerank,
}
"""Short name -> the score with its default settings."""


def _shared(graph: NeighborLists, pairs: Tensor, weight: Tensor | None) -> Tensor:
    """The sum of ``weight`` ``[N]``, or the number, of the neighbours that the ends of each pair share."""
    check_nodes("edge_label_index", pairs, graph.num_nodes)
    if kernels is None or graph.col.device.type != "cpu":
        return _shared_torch(graph, pairs, weight)
    pairs, out = pairs.contiguous(), torch.empty(pairs.size(1), dtype=torch.float64)
    kernels.shared_neighbors(
        graph.rowptr.data_ptr(), graph.col.data_ptr(), pairs.data_ptr(), pairs.size(1),
        0 if weight is None else weight.data_ptr(), out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def _shared_torch(graph: NeighborLists, pairs: Tensor, weight: Tensor | None) -> Tensor:
    """Looks the shorter list of each pair up among the links of the other end."""
    degree, keys = graph.degree(), graph.keys()
    swap = degree[pairs[0]] > degree[pairs[1]]
    shorter, longer = torch.where(swap, pairs[1], pairs[0]), torch.where(swap, pairs[0], pairs[1])
    out = torch.zeros(pairs.size(1), dtype=torch.float64, device=pairs.device)
    for block in _blocks(degree[shorter]):
        owner, place = expand(graph.rowptr, shorter[block])
        near = graph.col[place].long()
        found = contains(keys, longer[block][owner] * graph.num_nodes + near)
        value = found.double() if weight is None else weight[near] * found
        out[block] = out[block].index_add(0, owner, value)
    return out


def _blocks(count: Tensor) -> Iterator[slice]:
    """Slices of pairs with about ``_BLOCK_ENTRIES`` entries each."""
    ends = count.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    marks = torch.arange(1, total // _BLOCK_ENTRIES + 1, device=count.device) * _BLOCK_ENTRIES
    cuts = sorted({0, len(count), *torch.searchsorted(ends, marks).tolist()})
    for start, stop in itertools.pairwise(cuts):
        yield slice(start, stop)


def _from_sources(graph: NeighborLists, pairs: Tensor, spread: Callable[[Tensor], Tensor], *, both: bool) -> Tensor:
    """``spread`` of the unit vector of one end, read at the other; with ``both``, the way back by degrees added."""
    check_nodes("edge_label_index", pairs, graph.num_nodes)
    out = torch.zeros(pairs.size(1), dtype=torch.float64, device=pairs.device)
    sides = [distinct(pairs[0]), distinct(pairs[1])]
    near = 0 if len(sides[0]) <= len(sides[1]) else 1
    source = sides[near]
    column = torch.searchsorted(source, pairs[near].contiguous())
    order = column.argsort(stable=True)
    width = max(1, _BLOCK_STATES // max(graph.num_nodes, 1))
    starts = torch.arange(0, len(source) + width, width, device=pairs.device).clamp_max(len(source))
    bounds = torch.searchsorted(column[order], starts).tolist()
    for block, (first, last) in enumerate(itertools.pairwise(bounds)):
        chosen = source[block * width : (block + 1) * width]
        unit = torch.zeros(graph.num_nodes, len(chosen), dtype=torch.float64, device=pairs.device)
        unit[chosen, torch.arange(len(chosen), device=pairs.device)] = 1
        here = order[first:last]
        out[here] = spread(unit)[pairs[1 - near, here], column[here] - block * width]
    if both:
        degree = graph.degree().clamp_min(1).double()
        out *= 1 + degree[pairs[near]] / degree[pairs[1 - near]]
    return out
