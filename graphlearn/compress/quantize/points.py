"""The quantisers of one message-passing layer, on PyG's public hooks."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from graphlearn.compress.quantize.a2q import NodeQuantizer
from graphlearn.compress.quantize.config import NodeWidths, QuantConfig
from graphlearn.compress.quantize.linear import FeatureQuantizer, Flow
from graphlearn.compress.quantize.lists import ListQuantizer
from graphlearn.compress.quantize.precision import Precision
from graphlearn.compress.quantize.quantizer import Quantizer
from graphlearn.errors import UsageError
from graphlearn.ops.eager import eager

EDGE_WEIGHTS = ("edge_weight", "alpha", "norm")
"""Names by which PyG's layers give ``propagate`` one number (per head) of each edge."""


def feature_quantizer(setting: Precision | NodeWidths | None, name: str) -> FeatureQuantizer | None:
    """The quantiser for features that a setting asks for."""
    if setting is None:
        return None
    if isinstance(setting, NodeWidths):
        return NodeQuantizer(setting.bits, setting.num_nodes, groups=setting.groups, name=name)
    return Quantizer(setting, name=name)


class LayerPoints(torch.nn.Module):
    """Rounds what a message-passing layer reads, gathers, weighs, adds up and updates.

    What is gathered is rounded per node, before the edges copy it: the same numbers, at the cost of the nodes. Where a
    layer gathers its own input, which is rounded already, it is not rounded again.

    Args:
        conv: The layer; gets this module as ``quantizers``, and its hooks.
        config: What to round.
        flow: Shared with the linear layers within ``conv``.
        name: What errors call the layer.
    """

    def __init__(self, conv: MessagePassing, config: QuantConfig, flow: Flow, name: str) -> None:
        super().__init__()
        self.input = feature_quantizer(config.input, f"the input of {name}")
        self.message = feature_quantizer(config.message, f"the message of {name}")
        self.aggregate = feature_quantizer(config.aggregate, f"the aggregate of {name}")
        updates = conv.inspector.implements("update")
        self.update = feature_quantizer(config.update if updates else None, f"the update of {name}")
        attention = config.attention
        self.attention = None if attention is None else ListQuantizer(attention, name=f"the attention of {name}")
        names = conv.inspector.get_param_names("message")
        self.gathered = {part[:-2] for part in names if part.endswith(("_i", "_j"))}
        self.flow, self.protection, self.name = flow, flow.protection, name
        conv.add_module("quantizers", self)
        conv.fuse = False
        conv.__class__ = _eager_class(conv.__class__)
        # Bound methods, so that a deep copy of the model calls the quantisers of the copy.
        conv.register_forward_pre_hook(self.enter, with_kwargs=True)
        conv.register_propagate_forward_pre_hook(self.before_propagate)
        conv.register_aggregate_forward_hook(self.after_aggregate)
        conv.register_propagate_forward_hook(self.after_propagate)
        conv.register_forward_hook(self.leave, always_call=True)

    @eager  # as the layer itself, see below
    def enter(self, conv: MessagePassing, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Rounds the first argument, the features."""
        self.flow.rounded.clear()
        if args:
            return (self._round(self.input, args[0]), *args[1:]), kwargs
        if "x" in kwargs:
            kwargs = {**kwargs, "x": self._round(self.input, kwargs["x"])}
        return args, kwargs

    def before_propagate(self, conv: MessagePassing, inputs: tuple[Any, Any, dict[str, Any]]) -> tuple[Any, ...]:
        """Rounds what edges gather, and their weights."""
        edge_index, size, kwargs = inputs
        if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
            raise UsageError(
                f"{self.name} is quantised and takes 'edge_index' as a [2, E] tensor, got {type(edge_index).__name__}"
                " of a sparse layout. Give the edges themselves: torch_geometric.utils.to_edge_index."
            )
        kwargs = {
            part: self._round(self.message, value) if part in self.gathered else value for part, value in kwargs.items()
        }
        if self.attention is not None:
            index = edge_index[1 if conv.flow == "source_to_target" else 0]
            for part in EDGE_WEIGHTS:
                weight = kwargs.get(part)
                if part in self.gathered or weight is None or not weight.is_floating_point():
                    continue
                kwargs[part] = self.attention(weight, index, self._num_lists(conv, size, kwargs))
        return edge_index, size, kwargs

    def after_aggregate(self, conv: MessagePassing, inputs: Any, out: Tensor) -> Tensor:
        """Rounds what the messages add up to."""
        return self.flow.round(self.aggregate, out)

    def after_propagate(self, conv: MessagePassing, inputs: Any, out: Tensor) -> Tensor:
        """Rounds what the update made."""
        return self.flow.round(self.update, out)

    @eager
    def leave(self, conv: MessagePassing, args: Any, out: Any) -> None:
        """Lets go of the tensors of this call."""
        self.flow.rounded.clear()

    def _round(self, quantizer: FeatureQuantizer | None, value: Any) -> Any:
        """A tensor rounded, or those of a tuple, the same one once."""
        if isinstance(value, Tensor):
            return self.flow.round(quantizer, value)
        if isinstance(value, (tuple, list)):
            done: dict[int, Any] = {}
            for part in value:
                if id(part) not in done:
                    done[id(part)] = self._round(quantizer, part)
            return tuple(done[id(part)] for part in value)
        return value

    def _num_lists(self, conv: MessagePassing, size: Any, kwargs: dict[str, Any]) -> int:
        """Number of nodes that edges may lead into."""
        if size is not None and size[1] is not None:
            return int(size[1])
        for part in self.gathered:
            value = kwargs.get(part)
            if isinstance(value, (tuple, list)):
                value = value[0] if value[1] is None else value[1]
            if isinstance(value, Tensor):
                return int(value.size(conv.node_dim))
        raise UsageError(f"{self.name} has edge weights, but nothing tells the number of nodes: give 'size'.")


@functools.cache
def _eager_class(kind: Any) -> type:
    """The same layer, kept out of ``torch.compile``: PyG does not call hooks in what is compiled."""
    return type(f"Quantized{kind.__name__}", (kind,), {"forward": eager(kind.forward), "__module__": kind.__module__})
