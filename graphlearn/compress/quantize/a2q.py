"""A2Q: a step and a width for each node, learned from the error of rounding it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from graphlearn.compress.quantize.ranges import check_seen
from graphlearn.errors import UsageError

MAX_BITS = 8
"""The widest that a node may become, so that rows are stored as int8."""


class NodeQuantizer(torch.nn.Module):
    r"""Rounds each row with the step and the width of its node.

    .. math:: Q(x) = g \, \mathrm{sign}(x) \, \min\bigl(\lfloor |x| / g + 0.5 \rfloor,\, 2^{b-1} - 1\bigr), \quad
        b = \lfloor |\beta| \rceil

    The gradient of x is that of the identity within the range and 0 outside. Step and width learn from the error of
    rounding alone ("local gradient"), because in node classification most nodes get no gradient from the loss:
    :math:`\frac{1}{F} \sum_f \mathrm{sign}(Q(x_f) - x_f) \, \partial Q(x_f)`. What holds the widths down is
    :func:`memory_penalty`.

    With ``num_nodes`` row v has the pair v. Without, there is a table of ``groups`` pairs, and each row takes the one
    whose range :math:`g (2^{b-1} - 1)` is nearest to its largest number: for graphs that were not seen in training,
    ``O(N log G)``.

    Source: Zhu et al., "A2Q: Aggregation-Aware Quantization for Graph Neural Networks", arXiv:2302.00193.
    Differs from the paper: at least 2 bits, as 1 has no level but 0, and at most 8; the table starts with ranges in
    equal ratios over those of the first batch; the range is the highest level, the code has one step more.

    Args:
        bits: Where the widths start.
        num_nodes: Number of nodes of the one graph that the model is for.
        groups: Size of the table where ``num_nodes`` is not given.
        name: What errors call it.

    Shapes:
        - ``x``: ``[N, ...]`` float
        - returns the shape of ``x``

    Raises:
        UsageError: If ``bits`` is not from 2 to 8, or ``x`` has another number of rows than ``num_nodes``.
    """

    def __init__(
        self, bits: float = 4, num_nodes: int | None = None, *, groups: int = 1000, name: str = "quantiser"
    ) -> None:
        super().__init__()
        if not 2 <= bits <= MAX_BITS:
            raise UsageError(f"'bits' of a node must start from 2 to {MAX_BITS}, got {bits}.")
        self.num_nodes, self.name = num_nodes, name
        size = groups if num_nodes is None else num_nodes
        self.step = torch.nn.Parameter(torch.ones(size))
        self.width = torch.nn.Parameter(torch.full((size,), float(bits)))
        self.seen: Tensor
        self.channels: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("channels", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        if x.numel() == 0:
            return x
        rows = x.reshape(x.size(0), -1)
        self._check_rows(rows)
        if self.training:
            self._start(rows.detach())
        pair = self.assign(rows.detach())
        out: Tensor = _NodeGrid.apply(rows, self.step[pair], self.width[pair], keep)  # type: ignore[no-untyped-call]
        return out.view_as(x)

    @torch.no_grad()
    def integers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The levels as int8, the step of each row ``[N]``, and 0 for the level of 0."""
        rows = x.reshape(x.size(0), -1)
        self._check_rows(rows)
        pair = self.assign(rows)
        step, top = _step(self.step[pair]), _top(self.width[pair])
        levels = rows.sign() * torch.minimum((rows.abs() / step[:, None] + 0.5).floor(), top[:, None])
        return levels.to(torch.int8).view_as(x), step, torch.zeros(1, dtype=torch.int32, device=x.device)

    @torch.no_grad()
    def assign(self, rows: Tensor) -> Tensor:
        """The pair of each row ``[N, F]``: ``[N]`` int64."""
        if self.num_nodes is not None:
            return torch.arange(rows.size(0), device=rows.device)
        reach, order = (_step(self.step) * _top(self.width)).sort()
        largest = rows.abs().amax(dim=1)
        right = torch.searchsorted(reach, largest).clamp_max(reach.numel() - 1)
        left = (right - 1).clamp_min(0)
        return order[torch.where(largest - reach[left] <= reach[right] - largest, left, right)]

    def check_range(self) -> None:
        """Raises ``UsageError`` if nothing was seen yet."""
        check_seen(self.seen, self.name)

    def memory(self) -> Tensor:
        """KiB of what went through last, at the widths of all pairs; differentiable."""
        return self.width.abs().clamp(2.0, MAX_BITS).sum() * self.channels / (8 * 1024)

    def extra_repr(self) -> str:
        where = f"{self.width.numel()} nodes" if self.num_nodes is not None else f"{self.width.numel()} ranges"
        return f"learned bits, {where}"

    def _check_rows(self, rows: Tensor) -> None:
        if self.num_nodes is not None and rows.size(0) != self.num_nodes:
            raise UsageError(
                f"{self.name} has a width for each of {self.num_nodes} nodes, but got {rows.size(0)} rows."
                " For other graphs leave 'num_nodes' out: rows then take the nearest range."
            )

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        """Steps that suit the first rows that come."""
        first = self.seen == 0
        if self.num_nodes is not None:
            start = 2 * rows.abs().mean(dim=1) / _top(self.width).sqrt()
        else:
            largest = rows.abs().amax(dim=1)
            low, high = largest.min().clamp_min(1e-4), largest.max().clamp_min(2e-4)
            share = torch.linspace(0.0, 1.0, self.step.numel(), device=rows.device)
            start = low * (high / low) ** share / _top(self.width)
        start = torch.where(start > 0, start, torch.ones_like(start))
        self.step.copy_(torch.where(first, start, self.step))
        self.seen.add_(1)
        self.channels.fill_(rows.size(1))


def memory_penalty(model: torch.nn.Module, target: float) -> Tensor:
    r"""What is added to the loss so that the learned widths of all nodes stay within ``target`` KiB.

    .. math:: \max\Bigl(\sum_q \sum_v |\beta_{q v}| F_q / (8 \cdot 1024) - T,\, 0\Bigr)^2

    Raises:
        UsageError: If the model learns no widths.
    """
    found = [module.memory() for module in model.modules() if isinstance(module, NodeQuantizer)]
    if not found:
        raise UsageError("the model learns no widths: quantize it with A2Q() for a memory term.")
    return torch.relu(torch.stack(found).sum() - target).square()


def _step(step: Tensor) -> Tensor:
    return step.abs().clamp_min(torch.finfo(step.dtype).tiny)


def _top(width: Tensor) -> Tensor:
    return 2.0 ** (width.abs().round().clamp(2, MAX_BITS) - 1) - 1


class _NodeGrid(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, width: Tensor, keep: Tensor | None) -> Tensor:
        g, top = _step(step)[:, None], _top(width)[:, None]
        steps = x / g
        level = torch.minimum((steps.abs() + 0.5).floor(), top)
        inside = steps.abs() <= top
        level = level * x.sign()
        out = level * g
        error = (out - x).sign()
        by_step = (error * torch.where(inside, level - steps, level)).mean(dim=1)
        # Outside, Q = sign(x) g (2^(b-1) - 1), whose derivative by b is sign(x) g 2^(b-1) ln 2; inside it is 0.
        by_width = (error * x.sign() * ~inside).mean(dim=1) * (g * (top + 1)).squeeze(1) * math.log(2)
        if keep is not None:
            kept = keep[:, None]
            out, inside = torch.where(kept, x, out), inside | kept
            by_step, by_width = by_step.masked_fill(keep, 0.0), by_width.masked_fill(keep, 0.0)
        ctx.save_for_backward(inside, by_step * step.sign(), by_width * width.sign())
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inside, by_step, by_width = ctx.saved_tensors
        return grad * inside, by_step, by_width, None
