"""How the numbers of one place in a model are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphlearn.errors import UsageError, unknown_name

Scheme = Literal["affine", "symmetric", "fixed", "ternary", "binary"]
Per = Literal["tensor", "channel", "row", "node", "list"]
Range = Literal["current", "minmax", "ema", "percentile", "learned"]
Gradient = Literal["ste", "gc"]

SCHEMES = ("affine", "symmetric", "fixed", "ternary", "binary")
PERS = ("tensor", "channel", "row", "node", "list")
RANGES = ("current", "minmax", "ema", "percentile", "learned")
GRADIENTS = ("ste", "gc")
LEVELS = {"ternary": 2, "binary": 1}
"""The bits of the schemes that have one width only."""


@dataclass(frozen=True)
class Precision:
    """Width, grid and range of a quantiser.

    Args:
        bits: 1 to 16. Ternary takes 2, binary 1; symmetric and learned grids need 2.
        scheme: ``"affine"`` (equal steps over a range that holds 0), ``"symmetric"`` (equal steps around 0),
            ``"fixed"`` (steps of a power of two), ``"ternary"`` or ``"binary"`` (a magnitude with a sign).
        per: What has a range of its own: the whole ``"tensor"``, each ``"channel"`` (the rows of a weight, the columns
            of features), each ``"row"`` as it comes, each ``"node"`` of one graph, or, of edges, each ``"list"`` of
            edges into one node.
        range: Where the range comes from: the ``"current"`` tensor, the smallest and largest so far (``"minmax"``),
            a moving average of them (``"ema"``) or of percentiles (``"percentile"``), or a ``"learned"`` step.
        gradient: Of clamped numbers: 1 (``"ste"``) or 0 (``"gc"``).
        fraction: Of fixed point, the bits after the point: Qm.n has ``bits = m + n + 1`` and ``fraction = n``.
        tail: Of percentiles, the share of numbers that are clamped at each side.
        momentum: Of moving averages, the weight of the newest range.

    Raises:
        UnknownNameError: If a name is none of the above.
        UsageError: If a number is out of its range, or the parts do not fit each other.
    """

    bits: int
    scheme: Scheme = "affine"
    per: Per = "tensor"
    range: Range = "ema"
    gradient: Gradient = "ste"
    fraction: int = 0
    tail: float = 0.001
    momentum: float = 0.01

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("quantisation scheme", self.scheme, SCHEMES),
            ("grouping of ranges", self.per, PERS),
            ("kind of range", self.range, RANGES),
            ("gradient of clamped numbers", self.gradient, GRADIENTS),
        ):
            if name not in known:
                raise unknown_name(kind, name, known)
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 1 <= self.bits <= 16:
            raise UsageError(f"'bits' must be a whole number from 1 to 16, got {self.bits}.")
        if self.scheme in LEVELS and self.bits != LEVELS[self.scheme]:
            raise UsageError(f"scheme '{self.scheme}' takes {LEVELS[self.scheme]} bits, got {self.bits}.")
        if self.scheme in ("symmetric", "fixed") and self.bits < 2:
            raise UsageError(f"scheme '{self.scheme}' with 1 bit has no level but 0: take 2 bits or scheme 'binary'.")
        if not 0 <= self.fraction < 32:
            raise UsageError(f"'fraction' must be from 0 to 31, got {self.fraction}.")
        if not 0.0 <= self.tail < 0.5:
            raise UsageError(f"'tail' must be from 0 to below 0.5, got {self.tail}.")
        if not 0.0 < self.momentum <= 1.0:
            raise UsageError(f"'momentum' must be above 0 and at most 1, got {self.momentum}.")
        if self.range == "learned" and self.scheme != "symmetric":
            raise UsageError(f"a learned step needs scheme 'symmetric', got '{self.scheme}'.")
        if self.scheme in LEVELS and self.range in ("minmax", "percentile"):
            raise UsageError(f"scheme '{self.scheme}' has no '{self.range}': take range 'current' or 'ema'.")
        if self.per in ("row", "list") and self.range != "current":
            raise UsageError(f"ranges per {self.per} are those of the current tensor: take range 'current'.")
        if self.per == "list" and self.scheme != "symmetric":
            raise UsageError(f"ranges per list need scheme 'symmetric', got '{self.scheme}'.")

    @classmethod
    def fixed_point(cls, whole: int, fraction: int, *, gradient: Gradient = "ste") -> Precision:
        """Qm.n: one bit for the sign, ``whole`` before the point and ``fraction`` after it."""
        return cls(whole + fraction + 1, "fixed", range="current", gradient=gradient, fraction=fraction)

    @property
    def levels(self) -> tuple[int, int]:
        """The lowest and the highest level of the grid."""
        half = 2 ** (self.bits - 1)
        if self.scheme in LEVELS:
            return -1, 1
        if self.scheme == "symmetric":
            return -(half - 1), half - 1
        return -half, half - 1
