"""A pooling whose kind is learned: between sum, mean, maximum, minimum, and what lies among them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch_geometric.nn.aggr import Aggregation

from graphlearn.errors import check_positive, unknown_name
from graphlearn.nn.aggr.segment import groups
from graphlearn.ops.csr_dispatch import wide
from graphlearn.ops.segment import Segments

_SIGNS = ("+", "-", "both", "gate")
#: The known poolings by order and size exponent; the extremes are the bound of the order, at any exponent.
_NAMED = {
    "sum": (1.0, 0.0),
    "mean": (1.0, 1.0),
    "Euclidean norm": (2.0, 0.0),
    "root mean square": (2.0, 1.0),
    "harmonic mean": (-1.0, 1.0),
    "harmonic sum": (-1.0, 0.0),
}
#: An extreme counts as reached where a group of ten equal rows is off by less than ten percent, whatever q in [0, 1].
_EXTREME = 24.0


class GNPAggregation(Aggregation):  # type: ignore[misc]
    r"""Pools each group with a norm whose order p and size exponent q are learned.

    .. math:: \mathrm{GNP}(\mathbf{X}) = \Bigl( n^{-q} \sum_{i=1}^{n} |\mathbf{x}_i|^{p} \Bigr)^{1/p}

    per channel, n the size of the group. For inputs >= 0: the sum at (p=1, q=0), the mean at (1, 1), the Euclidean norm
    at (2, 0), the harmonic mean at (-1, 1), the maximum as p grows, the minimum as -p grows. It is computed as

    .. math:: \exp\Bigl( a^* + \tfrac{1}{p} \log \tfrac{1}{n} \sum_i e^{p (a_i - a^*)} + s \log n \Bigr),
        \qquad a_i = \log \max(|\mathbf{x}_i|, \epsilon), \qquad s = (1 - q) / p

    with :math:`a^*` the largest (for p < 0 the smallest) a of the group, so nothing overflows. Learned are p and the
    growth s, as n equal rows give :math:`n^s` of them: a change of p then leaves the size of the result as it was,
    where q would have to follow, or the descent crawls. Between p > 0 and p < 0
    lies a pole that gradient descent cannot cross, so each sign is a branch of its own with its own parameters:
    ``sign="+"``, ``"-"``, or two of them, side by side (``"both"``) or as a learned mean per channel (``"gate"``).

    Source: Ko et al., "Learning to Pool in Graph Neural Networks for Extrapolation", arXiv:2106.06210. The abstract was
    at hand and the text was not: formula and special cases are those of the norm that it describes. Known or possible
    differences: s is learned instead of q; p is bounded by a sigmoid, ``p_min < |p| < p_max``; the floor under ``|x|``;
    ``"gate"`` and ``signed="split"`` are own; initial values are ours.

    Equal rows at an extreme share its gradient. A group of one row gives ``|x|``, and its gradient for p and s is 0. A
    zero in a group whose p is negative gives a result near ``eps``. On groups larger than in training a small error of
    s is a large one of the result: look at :meth:`named_equivalent`, and use :meth:`snap_`. float16 and bfloat16 are
    computed in float32.

    Args:
        p: Starting size of the order, ``p_min < p < p_max``; the branch for p < 0 starts at its negative.
        q: Starting exponent of the group size; any sign.
        channels: Number of p and q: 1 for one of all channels, or F.
        sign: Which branches there are.
        signed: Of inputs below zero, ``"abs"`` forgets the sign (for use after a ReLU); ``"split"`` pools
            :math:`\max(\mathbf{x}, 0)` and :math:`\max(-\mathbf{x}, 0)` and subtracts, so that sum and mean are those
            of signed numbers. All rows count in n, and zeros in either part are zeros to its minimum.
        learn: Whether p and s are learned, or stay as they are.
        p_min: Bound of the order; below it powers of n explode.
        p_max: Bound of the order; what it is not told from the extreme.
        eps: Floor under ``|x|``, in the units of ``x``.

    Shapes:
        - ``x``: ``[..., N, F]`` float, N at ``dim``;  ``index``: ``[N]`` int64, group of each row, in any order
        - ``ptr``: ``[B + 1]`` int64, instead of ``index`` where rows lie group by group
        - returns ``[..., B, F]``, with ``sign="both"`` ``[..., B, 2F]``: positive orders, then negative ones; a group
          without rows gives zeros, and no gradient

    Raises:
        UnknownNameError: If ``sign`` or ``signed`` is none of those above.
        ValueError: If ``p`` is not between its bounds, a bound, ``channels`` or ``eps`` is not positive, or (in
            ``forward``) ``x`` does not have ``channels`` channels.
    """

    def __init__(
        self,
        p: float = 1.0,
        q: float = 0.0,
        *,
        channels: int = 1,
        sign: Literal["+", "-", "both", "gate"] = "+",
        signed: Literal["abs", "split"] = "abs",
        learn: bool = True,
        p_min: float = 0.2,
        p_max: float = 100.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_positive(p=p, p_min=p_min, eps=eps, channels=channels)
        if sign not in _SIGNS:
            raise unknown_name("sign", sign, _SIGNS)
        if signed not in ("abs", "split"):
            raise unknown_name("way to pool signed numbers", signed, ("abs", "split"))
        if not p_min < p < p_max:
            raise ValueError(f"'p' must lie between 'p_min' and 'p_max', {p_min} < p < {p_max}, got {p}.")
        self.init_p, self.init_q, self.channels, self.learn = p, q, channels, learn
        self.sign, self.signed = sign, signed
        self.p_min, self.p_max, self.eps = p_min, p_max, eps
        self._orders = {"+": (1.0,), "-": (-1.0,)}.get(sign, (1.0, -1.0))
        shape = len(self._orders), channels
        self.raw_p = Parameter(torch.empty(shape), requires_grad=learn)
        self.growth = Parameter(torch.empty(shape), requires_grad=learn)
        self.gate = Parameter(torch.empty(channels), requires_grad=learn) if sign == "gate" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.constant_(self.raw_p, self._raw(self.init_p))
        with torch.no_grad():
            self.growth.copy_(((1.0 - self.init_q) / self.init_p) * self._signs())
        if self.gate is not None:
            torch.nn.init.zeros_(self.gate)

    @property
    def p(self) -> Tensor:
        """The signed orders, ``[branches, channels]``."""
        size = self.p_min + (self.p_max - self.p_min) * self.raw_p.sigmoid()
        return size * self._signs()

    @property
    def q(self) -> Tensor:
        """The exponents of the group size, ``[branches, channels]``."""
        return 1.0 - self.p * self.growth

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        if self.channels not in (1, x.size(-1)):
            raise ValueError(f"'x' must have {self.channels} channels, one per p and q, got {x.size(-1)}.")
        rows = x.movedim(dim, 0)
        segments = groups(rows, index, ptr, dim_size)
        values = wide(rows)
        parts = [values.relu(), (-values).relu()] if self.signed == "split" else [values.abs()]
        logs = torch.cat([part.clamp_min(self.eps).log() for part in parts], dim=-1)  # [N, ..., F or 2F]
        size = segments.rowptr.diff().to(logs.dtype)
        pooled = [self._branch(logs, segments, size, branch) for branch in range(len(self._orders))]
        if self.signed == "split":
            pooled = [up - down for up, down in (both.chunk(2, dim=-1) for both in pooled)]
        if self.gate is not None:
            share = self.gate.sigmoid()
            out = share * pooled[0] + (1.0 - share) * pooled[1]
        else:
            out = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)
        return out.to(x.dtype).movedim(0, dim)

    def _branch(self, logs: Tensor, segments: Segments, size: Tensor, branch: int) -> Tensor:
        """One norm of the logarithms ``[N, ..., F]``, ``[B, ..., F]``."""
        p, growth = self.p[branch], self.growth[branch]
        if self.signed == "split" and self.channels > 1:
            p, growth = p.repeat(2), growth.repeat(2)
        with torch.no_grad():  # whatever is subtracted, the result is the same
            best = segments.reduce(logs.flatten(1), "max" if self._orders[branch] > 0 else "min")
            shift = segments.expand(best).view_as(logs)
        power = (p * (logs - shift)).exp()
        total = segments.reduce(power.flatten(1), "sum").view(len(segments), *logs.shape[1:])
        best, size = best.view_as(total), size.view(-1, *[1] * (logs.dim() - 1))
        # An empty group has a total of 0, whose logarithm has no finite slope; it must not be reached, or the gradient
        # of p is NaN for the whole batch.
        empty = size == 0
        total, size = total.masked_fill(empty, 1.0), size.clamp_min(1.0)
        return (best + (total / size).log() / p + growth * size.log()).exp().masked_fill(empty, 0.0)

    def named_equivalent(self) -> str:
        """The known pooling nearest to each p and q: ``"sum (p=1.02, q=0.03)"``; several are joined by ``;``.

        Reads values, so on a GPU it waits for the device.
        """
        found = [f"{self._nearest(p, q)} (p={p:.3g}, q={round(q, 3) + 0.0:g})" for p, q in self._pairs()]
        return "; ".join(dict.fromkeys(found))

    @torch.no_grad()
    def snap_(self) -> str:
        """Rounds every p and q to the nearest known pooling, and a gate to the branch that it prefers.

        Extremes get ``0.99 p_max``, short of the bound, where nothing could be learned any more, and q = 0. What comes
        after is a short fine-tuning of the rest of the model. Returns :meth:`named_equivalent`.
        """
        pairs = [self._exact(self._nearest(p, q)) for p, q in self._pairs()]
        p, q = torch.tensor(pairs, dtype=torch.float64).view(*self.growth.shape, 2).unbind(-1)
        self.raw_p.copy_(torch.special.logit((p.abs() - self.p_min) / (self.p_max - self.p_min)))
        self.growth.copy_((1.0 - q) / p)
        if self.gate is not None:
            self.gate.copy_(torch.where(self.gate < 0, -30.0, 30.0))
        return self.named_equivalent()

    def _pairs(self) -> list[tuple[float, float]]:
        p, q = self.p.detach().flatten().tolist(), self.q.detach().flatten().tolist()
        return list(zip(p, q, strict=True))

    def _nearest(self, p: float, q: float) -> str:
        if abs(p) >= min(_EXTREME, 0.9 * self.p_max):
            return "max" if p > 0 else "min"
        # In log |p|, as orders act by ratios, and s. The extremes stand at the order from which they count as reached.
        growth = (1.0 - q) / p
        points = {n: (math.log(abs(p / to)), growth - (1.0 - at) / to) for n, (to, at) in self._known(p).items()}
        points["max" if p > 0 else "min"] = (math.log(abs(p) / _EXTREME), growth)
        return min(points, key=lambda name: math.hypot(*points[name]))

    def _known(self, p: float) -> dict[str, tuple[float, float]]:
        """The named points with the sign of p that lie within the bounds."""
        return {n: at for n, at in _NAMED.items() if at[0] * p > 0 and self.p_min < abs(at[0]) < self.p_max}

    def _exact(self, name: str) -> tuple[float, float]:
        extremes = {"max": (0.99 * self.p_max, 0.0), "min": (-0.99 * self.p_max, 0.0)}
        return (_NAMED | extremes)[name]

    def _signs(self) -> Tensor:
        return self.raw_p.new_tensor(self._orders).unsqueeze(-1)

    def _raw(self, p: float) -> float:
        share = (p - self.p_min) / (self.p_max - self.p_min)
        return math.log(share) - math.log1p(-share)

    def __repr__(self) -> str:
        settings = f"p={self.init_p}, q={self.init_q}, channels={self.channels}, sign={self.sign!r}"
        return f"{type(self).__name__}({settings}, signed={self.signed!r}, learn={self.learn})"


def order_parameters(model: Module) -> Iterator[Parameter]:
    """Orders, growths and gates of every :class:`GNPAggregation` in a model, for an optimiser group of their own.

    They want no weight decay, which would pull them to orders and exponents that mean nothing, and often a larger
    learning rate than weights.
    """
    for module in model.modules():
        if isinstance(module, GNPAggregation):
            yield from module.parameters()
