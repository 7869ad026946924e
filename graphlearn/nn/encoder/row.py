"""The default row encoder: one vector per row, without a vector per cell."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, Parameter
from torch_frame import TensorFrame, stype
from torch_frame.data.stats import StatType


class RowEncoder(Module):
    r"""Turns each row of a table into one vector by adding up one linear map per column.

    .. math::
        \mathbf{h} = \sum_{c} \mathbf{W}_c\, \phi_c(x_c) + \mathbf{b} \qquad
        \mathrm{out}_i = \begin{cases} h_i & i \text{ even} \\
            \mathrm{ReLU}\bigl(\mathrm{LN}(\mathbf{h})\bigr)_i & i \text{ odd} \end{cases}

    :math:`\phi_c` of a number x (standardised) is (clip(x), sign(x) log(1 + |x|), the position within each quarter of
    the values seen, missing); of a category its one-hot vector, with slots for missing and for unseen; of a set of
    categories the mean of theirs; of a date the time from the row's own time to it
    (logarithm of days, with its sign), the sine and cosine of month, weekday and hour, missing; of a
    vector the vector itself. Since the maps are added, all columns of a kind are one matrix product or one embedding
    bag: memory is ``[R, channels]``, never ``[R, C, channels]`` as in the encoders of PyTorch Frame. No second layer
    follows, because the linear map of the layer that reads the rows is one. Half of the channels stay linear, so that a
    mean of rows holds means of their columns, which no mean of rectified channels does.

    Source: the columns' encodings follow Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep
    Learning", arXiv:2203.05556 (piecewise linear); the row container is PyTorch Frame's, arXiv:2404.00776.

    Args:
        channels: Size of the output.
        col_stats: Column statistics as PyTorch Frame keeps them.
        col_names_dict: Columns of each stype.
        time_col: The column with the row's own time, from which its other dates are counted. Absolute years are left
            out: they say which past it was, which no later row shares (on rel-f1 a driver's year of birth alone cost
            0.2 places of finishing order).

    Shapes:
        - ``tf``: a ``TensorFrame`` of R rows
        - returns ``[R, channels]`` in the dtype of the module
    """

    edges: Tensor
    linear: Tensor
    category_offset: Tensor
    set_offset: Tensor

    def __init__(
        self,
        channels: int,
        col_stats: dict[str, dict[StatType, Any]],
        col_names_dict: dict[stype, list[str]],
        *,
        time_col: str | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        names = {kind: list(columns) for kind, columns in col_names_dict.items()}
        self.num_numerical = len(names.get(stype.numerical, ()))
        if self.num_numerical:
            edges = [col_stats[c][StatType.QUANTILES] for c in names[stype.numerical]]
            self.register_buffer("edges", torch.tensor(edges, dtype=torch.float32))
            self.numerical = Linear(self.num_numerical * 7, channels, bias=False)
        categories = [len(col_stats[c][StatType.COUNT][0]) + 1 for c in names.get(stype.categorical, ())]
        if categories:
            self.register_buffer("category_offset", _offsets(categories))
            self.category = Parameter(torch.empty(sum(categories), channels))
        sets = [len(col_stats[c][StatType.MULTI_COUNT][0]) + 1 for c in names.get(stype.multicategorical, ())]
        if sets:
            self.register_buffer("set_offset", _offsets(sets))
            self.set = Parameter(torch.empty(sum(sets), channels))
        times = names.get(stype.timestamp, [])
        if times:
            self.own_time = times.index(time_col) if time_col in times else None
            self.timestamp = Linear(len(times) * 8, channels, bias=False)
        vectors = [int(col_stats[c][StatType.EMB_DIM]) for c in names.get(stype.embedding, ())]
        if vectors:
            self.vector = Linear(sum(vectors), channels, bias=False)
        self.bias = Parameter(torch.empty(channels))
        self.norm = LayerNorm(channels)
        self.register_buffer("linear", torch.arange(channels) % 2 == 0, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.zeros_(self.bias)
        for name in ("category", "set"):
            if hasattr(self, name):
                torch.nn.init.normal_(getattr(self, name), std=0.1)
        for module in self.children():
            if isinstance(module, (Linear, LayerNorm)):
                module.reset_parameters()

    def forward(self, tf: TensorFrame) -> Tensor:
        h = self.bias.expand(tf.num_rows, -1)
        feats = tf.feat_dict
        if stype.numerical in feats:
            h = h + self.numerical(self._numbers(feats[stype.numerical]))
        if stype.categorical in feats:
            h = h + F.embedding_bag(feats[stype.categorical] + self.category_offset, self.category, mode="sum")
        if stype.multicategorical in feats:
            h = h + self._sets(feats[stype.multicategorical])
        if stype.timestamp in feats:
            h = h + self.timestamp(self._dates(feats[stype.timestamp]))
        if stype.embedding in feats:
            h = h + self.vector(feats[stype.embedding].values.to(self.bias.dtype))
        return torch.where(self.linear, h, F.relu(self.norm(h)))

    def _numbers(self, x: Tensor) -> Tensor:
        missing = x.isnan()
        x = x.masked_fill(missing, 0.0).to(self.edges.dtype)
        low, high = self.edges[:, :-1], self.edges[:, 1:]  # [C, 4], the four quarters of the values seen
        within = (x.unsqueeze(-1) - low) / (high - low).clamp_min(1e-6)
        within = within.clamp(0.0, 1.0).masked_fill(missing.unsqueeze(-1), 0.0)
        parts = [x.clamp(-5.0, 5.0), x.sign() * x.abs().log1p(), missing.to(x.dtype), *within.unbind(-1)]
        return torch.cat(parts, dim=-1)

    def _sets(self, x: Any) -> Tensor:
        # One bag per row: a category counts 1 / (size of its set), so that each column adds a mean.
        size = x.offset.diff()
        cell = torch.repeat_interleave(torch.arange(len(size), device=size.device), size, output_size=len(x.values))
        weight = size.clamp_min(1).to(self.set.dtype).reciprocal()[cell]
        index = x.values + self.set_offset[cell % x.num_cols]
        rows = x.offset[:: x.num_cols] if x.num_cols > 1 else x.offset
        return F.embedding_bag(index, self.set, rows, mode="sum", per_sample_weights=weight, include_last_offset=True)

    def _dates(self, x: Tensor) -> Tensor:
        missing = x[..., 0] < 0
        x = x.to(self.bias.dtype)
        # Days to within two, which is enough for a logarithm; "for ever" is often written as the year 9999.
        day = 365.25 * x[..., 0] + 30.44 * x[..., 1] + x[..., 2]
        since = torch.zeros_like(day) if self.own_time is None else day - day[:, self.own_time].unsqueeze(-1)
        since = since.sign() * since.abs().log1p() / 8
        turn = 2 * torch.pi * torch.stack([x[..., 1] / 12 + x[..., 2] / 372, x[..., 3] / 7, x[..., 4] / 24], dim=-1)
        if self.own_time is not None:
            since = since.masked_fill(missing[:, self.own_time].unsqueeze(-1), 0.0)
        parts = torch.cat([since.unsqueeze(-1), turn.sin(), turn.cos()], dim=-1)
        parts = parts.masked_fill(missing.unsqueeze(-1), 0.0)
        return torch.cat([parts, missing.unsqueeze(-1).to(parts.dtype)], dim=-1).flatten(1)


def _offsets(sizes: list[int]) -> Tensor:
    """Where each column's categories start in the shared table; index -1 (missing) is the first slot."""
    return torch.tensor([0, *sizes[:-1]]).cumsum(0) + 1
