"""Return and transfer probabilities of a random walk around a pair of nodes, with and without their link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphlearn.native import kernels
from graphlearn.ops import csr_native, csr_torch
from graphlearn.ops.csr import gather_reduce, transpose_csr
from graphlearn.ops.eager import eager


@dataclass(frozen=True)
class WalkProfile:
    """Walks of lengths 2 .. T around the pair (i, j) of each graph; P+ has their link, P- has not.

    Attributes:
        node_plus: ``(P+^t)[i, i] + (P+^t)[j, j]``, ``[..., B, T - 1]``.
        node_minus: The same of P-.
        link_plus: ``(P+^t)[i, j] + (P+^t)[j, i]``, ``[..., B, T - 1]``.
        link_minus: The same of P-.
        graph: ``trace(P+^t) - trace(P-^t)``, ``[..., B, T - 1]``.
    """

    node_plus: Tensor
    node_minus: Tensor
    link_plus: Tensor
    link_minus: Tensor
    graph: Tensor


@eager
def pair_walks(prob: Tensor, rowptr: Tensor, col: Tensor, pair: Tensor, length: int) -> Tensor:
    r"""Probabilities of walks between the two nodes of each pair, for all lengths up to ``length``.

    .. math::
        \mathbf{R}_t = \mathbf{U}^\top \mathbf{P}^t \mathbf{U}, \qquad \mathbf{U} = [\mathbf{e}_i, \mathbf{e}_j]

    Only the two columns of U are propagated, :math:`\mathbf{X}_{t+1} = \mathbf{P} \mathbf{X}_t`, all graphs of a batch
    at once. Costs ``O(T E)`` time and ``O(T N)`` memory, in the gradient too, which is one pass back over the lengths.

    Args:
        prob: P[x, y] of each entry, x its list and y its ``col``.
        rowptr: Start of each list, and the end of the last one.
        col: Where each entry leads.
        pair: The two nodes of each graph; graphs have no common nodes.
        length: Longest walk T, >= 0.

    Shapes:
        - ``prob``: ``[E]`` float;  ``rowptr``: ``[N + 1]`` int64;  ``col``: ``[E]`` int32 or int64
        - ``pair``: ``[2, B]`` int64
        - returns ``[B, T + 1, 2, 2]``: from the first index to the second; the unit matrix at length 0, zeros where
          there is no such walk

    Raises:
        ValueError: If ``rowptr`` does not run from 0 to E (on a CPU).
        IndexError: If an entry of ``col`` is not a node (on a CPU).
    """
    rowptr, col = rowptr.long().contiguous(), col.contiguous()
    out: Tensor = _PairWalks.apply(prob.contiguous(), rowptr, col, pair, length)  # type: ignore[no-untyped-call]
    return out


class _PairWalks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prob: Tensor, rowptr: Tensor, col: Tensor, pair: Tensor, length: int) -> Tensor:
        num_nodes = rowptr.numel() - 1
        steps = prob.new_empty(length + 1, num_nodes, 2)
        steps[0] = 0.0
        steps[0, pair[0], 0] = 1.0
        steps[0, pair[1], 1] = 1.0
        if not (_has_kernel(prob) and _walk_native(prob, rowptr, col, steps)):
            # Wrong indices end up here too, where they are explained.
            for t in range(length):
                steps[t + 1] = gather_reduce(steps[t], rowptr, col, "sum", weight=prob)
        flat = pair.t().reshape(-1)
        ctx.save_for_backward(prob, rowptr, col, flat, steps)
        return steps[:, flat].view(length + 1, -1, 2, 2).transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        prob, rowptr, col, flat, steps = ctx.saved_tensors
        length, num_nodes = steps.size(0) - 1, steps.size(1)
        grad = grad.transpose(0, 1).reshape(length + 1, -1, 2)
        if length == 0:
            return torch.zeros_like(prob), None, None, None, None
        if _has_kernel(prob):
            return _walk_back_native(prob, rowptr, col, flat, steps, grad), None, None, None, None
        back_ptr, back_col, entry = transpose_csr(rowptr, col, num_nodes)
        back_prob = prob[entry]
        # dL/dP = sum over t of (dL/dX_{t+1}) X_t^T, read at the entries only: one product of all lengths side by side.
        sides = grad.new_zeros(num_nodes, length, 2)
        state = grad.new_zeros(num_nodes, 2).index_add_(0, flat, grad[length])
        for t in range(length - 1, -1, -1):
            sides[:, t] = state
            if t:
                state = gather_reduce(state, back_ptr, back_col, "sum", weight=back_prob).index_add_(0, flat, grad[t])
        x = steps[:length].transpose(0, 1).reshape(num_nodes, 2 * length)
        slope = csr_torch.entry_dot(sides.view(num_nodes, 2 * length), x, rowptr, col, col.numel())
        return slope, None, None, None, None


def _has_kernel(prob: Tensor) -> bool:
    return prob.dtype == torch.float32 and csr_native.usable(prob.device)


def _walk_native(prob: Tensor, rowptr: Tensor, col: Tensor, steps: Tensor) -> bool:
    """Fills ``steps`` after the first; False if an index is out of range."""
    assert kernels is not None
    found: bool = kernels.pair_walks(
        prob.data_ptr(), rowptr.data_ptr(), col.data_ptr(), col.element_size(), steps.size(1), col.numel(),
        steps.size(0) - 1, steps.data_ptr(),
    )  # fmt: skip
    return found


def _walk_back_native(prob: Tensor, rowptr: Tensor, col: Tensor, flat: Tensor, steps: Tensor, grad: Tensor) -> Tensor:
    assert kernels is not None
    slope, grad = torch.zeros_like(prob), grad.contiguous()  # held by name while only addresses are passed
    kernels.pair_walks_backward(
        prob.data_ptr(), rowptr.data_ptr(), col.data_ptr(), col.element_size(), steps.size(1), steps.size(0) - 1,
        steps.data_ptr(), flat.data_ptr(), flat.numel(), grad.data_ptr(), slope.data_ptr(),
    )  # fmt: skip
    return slope


def walk_profile(walks: Tensor, cross: Tensor) -> WalkProfile:
    r"""What adding one link changes in all walks, from the walks between its ends alone.

    With the link, row i of P- becomes :math:`(1 - c_i) \mathbf{P}^-_i + c_i \mathbf{e}_j`, and row j likewise, so
    :math:`\mathbf{P}^+ = \mathbf{P}^- + \mathbf{U} \mathbf{V}^\top` has rank 2 more, and with

    .. math::
        \mathbf{S}_t = \mathbf{V}^\top (\mathbf{P}^-)^t \mathbf{U}, \quad
        S_t[a, \cdot] = c_a (R_t[\bar a, \cdot] - R_{t+1}[a, \cdot])

    (:math:`\bar a` the other end) the walks with the link and the traces follow, as power series in z up to length T:

    .. math::
        \mathbf{R}^+_t = \mathbf{R}_t + \sum_{k < t} \mathbf{R}^+_{t-1-k} \mathbf{S}_k, \qquad
        \sum_t \frac{z^t}{t} \bigl( \operatorname{tr} (\mathbf{P}^+)^t - \operatorname{tr} (\mathbf{P}^-)^t \bigr)
            = - \log \det \Bigl( \mathbf{I} - \sum_k z^{k+1} \mathbf{S}_k \Bigr).

    Exact; costs ``O(B T^2)``, whatever the size of the graphs.

    Shapes:
        - ``walks``: R of P-, ``[..., B, T + 1, 2, 2]`` float, T >= 2, from :func:`pair_walks`
        - ``cross``: :math:`c_i` and :math:`c_j`, the probability with the link to step over it, ``[..., B, 2]``
    """
    length = walks.size(-3) - 1
    s = cross[..., None, :, None] * (walks.flip(-2)[..., :-1, :, :] - walks[..., 1:, :, :])  # [..., B, T, 2, 2]
    # The recurrence for all lengths at once: [R+_0 .. R+_T] times (I - blocks, S_{t-1-k} in block (k, t)) is
    # [R_0 .. R_T]. Blocks on and below the diagonal are zero, so it is solved by substitution.
    side = 2 * (length + 1)
    taken = _toeplitz(torch.cat([torch.zeros_like(s[..., :1, :, :]), s], dim=-3).flatten(-2))  # [..., T + 1, T + 1, 4]
    taken = taken.view(*taken.shape[:-1], 2, 2).transpose(-3, -2).reshape(*taken.shape[:-3], side, side)
    given = walks.transpose(-3, -2).reshape(*walks.shape[:-3], 2, side)
    unit = torch.eye(side, device=s.device, dtype=s.dtype)
    plus = torch.linalg.solve_triangular(unit - taken, given, upper=True, left=False, unitriangular=True)
    plus_walks = plus.view(*plus.shape[:-1], length + 1, 2).transpose(-3, -2)[..., 2:, :, :]

    one = torch.ones_like(s[..., :1, 0, 0])
    first, last = (torch.cat([one, -s[..., a, a]], dim=-1)[..., None] for a in (0, 1))
    upper, lower = (torch.cat([0.0 * one, s[..., a, 1 - a]], dim=-1)[..., None] for a in (0, 1))
    # Products of power series, [..., T + 1]; the determinant starts with 1.
    det = (first * _toeplitz(last).squeeze(-1)).sum(-2) - (upper * _toeplitz(lower).squeeze(-1)).sum(-2)
    # Newton's identities for n = 1 .. T: p_n + sum over m < n of p_m det_{n-m} = -n det_n.
    known = -torch.arange(1, length + 1, device=s.device, dtype=s.dtype) * det[..., 1:]
    newton = _toeplitz(det[..., :-1, None]).squeeze(-1)
    traces = torch.linalg.solve_triangular(newton, known[..., None, :], upper=True, left=False, unitriangular=True)
    minus_walks = walks[..., 2:, :, :]
    return WalkProfile(
        node_plus=plus_walks[..., 0, 0] + plus_walks[..., 1, 1],
        node_minus=minus_walks[..., 0, 0] + minus_walks[..., 1, 1],
        link_plus=plus_walks[..., 0, 1] + plus_walks[..., 1, 0],
        link_minus=minus_walks[..., 0, 1] + minus_walks[..., 1, 0],
        graph=traces[..., 0, 1:],
    )


def dense_walk_profile(minus: Tensor, cross: Tensor, pair: Tensor, length: int) -> WalkProfile:
    """The definition of :func:`walk_profile` with whole matrices: ``O(T B n^3)`` time, for tests and small graphs.

    Shapes:
        - ``minus``: P- of each graph, ``[B, n, n]`` float;  ``cross``: ``[B, 2]``
        - ``pair``: the two nodes of each graph, numbered within it, ``[2, B]`` int64
    """
    graph = torch.arange(minus.size(0), device=minus.device)
    plus = minus.clone()
    for here, there, c in ((pair[0], pair[1], cross[:, 0]), (pair[1], pair[0], cross[:, 1])):
        plus[graph, here] = (1.0 - c)[:, None] * minus[graph, here]
        plus[graph, here, there] = plus[graph, here, there] + c
    found: dict[str, list[Tensor]] = {name: [] for name in WalkProfile.__dataclass_fields__}
    power = {"plus": plus, "minus": minus}
    for _ in range(2, length + 1):
        power = {"plus": power["plus"] @ plus, "minus": power["minus"] @ minus}
        for name, p in power.items():
            found[f"node_{name}"].append(p[graph, pair[0], pair[0]] + p[graph, pair[1], pair[1]])
            found[f"link_{name}"].append(p[graph, pair[0], pair[1]] + p[graph, pair[1], pair[0]])
        trace = {name: p.diagonal(dim1=-2, dim2=-1).sum(-1) for name, p in power.items()}
        found["graph"].append(trace["plus"] - trace["minus"])
    return WalkProfile(**{name: torch.stack(values, dim=-1) for name, values in found.items()})


def _toeplitz(series: Tensor) -> Tensor:
    """Entry (m, n) is coefficient n - m, zero below the diagonal; ``[..., T, C]`` to ``[..., T, T, C]``."""
    n = torch.arange(series.size(-2), device=series.device)
    shift = n - n[:, None]
    return series[..., shift.clamp_min(0), :] * (shift >= 0)[..., None].to(series.dtype)
