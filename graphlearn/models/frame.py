"""Any model of PyTorch Frame as the row encoder of a relational model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch_frame import NAStrategy, TensorFrame, stype
from torch_frame.nn.encoder import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    LinearEncoder,
    MultiCategoricalEmbeddingEncoder,
    TimestampEncoder,
)

from graphlearn.errors import UsageError
from graphlearn.models.rdl import EncoderFactory

_ENCODERS: dict[stype, Callable[[], Module]] = {
    # Without a value in its place, a missing number gives no output but a gradient of NaN.
    stype.numerical: lambda: LinearEncoder(na_strategy=NAStrategy.MEAN),
    stype.categorical: EmbeddingEncoder,
    stype.multicategorical: MultiCategoricalEmbeddingEncoder,
    stype.timestamp: TimestampEncoder,
    stype.embedding: LinearEmbeddingEncoder,
}


def frame_encoder(model: type[Module], **kwargs: Any) -> EncoderFactory:
    """A factory of row encoders, one for each table, from a model class of PyTorch Frame.

    For ``train(…, encoder=frame_encoder(torch_frame.nn.models.ResNet, num_layers=2))``; to load such a run, pass the
    same factory again. Sizes, statistics, columns and (where it takes them) the usual encoder of each kind of column
    are given to the model; everything else it needs is in ``kwargs``.

    Costs what the model costs: most build ``[R, C, channels]``, which :class:`RowEncoder` never does.

    Args:
        model: A class whose ``forward`` maps a ``TensorFrame`` to ``[R, out_channels]``, for tables of one row too: no
            batch normalisation.
        kwargs: Its other arguments, such as ``num_layers``.

    Raises:
        UsageError: If ``model`` does not take ``out_channels``, ``col_stats`` and ``col_names_dict``.
    """
    takes = inspect.signature(model).parameters
    for name in ("out_channels", "col_stats", "col_names_dict"):
        if name not in takes:
            raise UsageError(f"{model.__name__} has no argument '{name}', so it is no table model of PyTorch Frame.")

    def make(channels: int, col_stats: dict[str, Any], col_names_dict: dict[Any, list[str]]) -> Module:
        given: dict[str, Any] = {
            "channels": channels,
            "in_channels": channels,
            "stype_encoder_dict": {kind: _ENCODERS[kind]() for kind in col_names_dict},
        }
        given = {name: value for name, value in given.items() if name in takes and name not in kwargs}
        made = model(out_channels=channels, col_stats=col_stats, col_names_dict=col_names_dict, **given, **kwargs)
        return _FrameEncoder(made, channels)

    make.__name__ = ", ".join([f"frame_encoder({model.__name__}", *(f"{k}={v!r}" for k, v in kwargs.items())]) + ")"
    return make


class _FrameEncoder(Module):
    """Keeps from the model what it cannot take: no rows at all."""

    def __init__(self, model: Module, channels: int) -> None:
        super().__init__()
        self.model = model
        self.channels = channels

    def forward(self, tf: TensorFrame) -> Tensor:
        if tf.num_rows == 0:
            return next(self.model.parameters()).new_zeros(0, self.channels)
        out: Tensor = self.model(tf)
        if out.shape != (tf.num_rows, self.channels):
            raise UsageError(
                f"{type(self.model).__name__} must give one vector per row, [{tf.num_rows}, {self.channels}], but gave "
                f"{list(out.shape)}. Take another model."
            )
        return out
