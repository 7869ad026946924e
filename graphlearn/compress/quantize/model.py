"""Any PyG model with its layers rounded: to be trained on (QAT), or calibrated and converted (PTQ)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch_geometric.nn import Linear as PyGLinear
from torch_geometric.nn import MessagePassing

from graphlearn.compress.quantize.a2q import NodeQuantizer
from graphlearn.compress.quantize.config import QuantConfig
from graphlearn.compress.quantize.linear import Flow, RoundedLinear
from graphlearn.compress.quantize.points import LayerPoints, feature_quantizer
from graphlearn.compress.quantize.protect import Protection
from graphlearn.compress.quantize.quantizer import Quantizer
from graphlearn.errors import UsageError
from graphlearn.nn.conv import HeteroSAGEConv

M = TypeVar("M", bound=torch.nn.Module)

_WHOLE = (torch.nn.Embedding, MessagePassing)
"""Modules whose own matrices are rounded where they are; those of linear layers are in ``RoundedLinear``."""

_FUSED = (HeteroSAGEConv,)
"""Layers that read the weights of their linear layers without calling them, where nothing could be rounded."""


def quantize(model: M, config: QuantConfig) -> M:
    """A copy of ``model`` that rounds what ``config`` asks for, in the forward pass and with a gradient.

    Linear and message-passing layers of PyG are rounded wherever they are in the model, layers of your own that inherit
    from ``MessagePassing`` too; what else has no matrices (norms, activations, dropout) stays as it is. Weights keep
    their names, so the state of a float model loads with ``strict=False``. Train the result for quantisation-aware
    training, or give :func:`calibrate` some batches; then :func:`.convert.convert` it.

    Under ``torch.compile`` message-passing layers run uncompiled, as PyG calls no hooks otherwise.

    Args:
        model: Any model; not changed.
        config: Such as ``W8A8()``.

    Raises:
        UsageError: If a name of ``config.skip`` is not in the model, a layer is not known, quantised already, not
            initialised yet, or the model has nothing to quantise.
    """
    model = copy.deepcopy(model)
    names = {name for name, _ in model.named_modules()}
    missing = [name for name in config.skip if name not in names]
    if missing:
        raise UsageError(
            f"'skip' names '{missing[0]}', which the model has not. It has: {', '.join(sorted(names - {''}))}."
        )
    if any(isinstance(module, (RoundedLinear, LayerPoints)) for module in model.modules()):
        raise UsageError("the model is quantised already: give quantize() the float model.")
    protection = Protection()
    holder = torch.nn.ModuleDict({"model": model})  # so that a model that is one linear layer can be replaced too
    found = _visit(holder, "", config, protection, None)
    if not found:
        raise UsageError("the model has no linear and no message-passing layer to quantise.")
    done: M = holder["model"]  # type: ignore[assignment]
    return done


def calibrate(
    model: torch.nn.Module,
    batches: Iterable[Any],
    call: Callable[[torch.nn.Module, Any], object] | None = None,
) -> None:
    """Sets the ranges of a quantised model from data: post-training quantisation.

    Dropout and batch statistics are off meanwhile; no weight changes. Give training data only.

    Args:
        model: What :func:`quantize` gave; changed in place.
        batches: A tuple of arguments, or a PyG ``Data``, for each call.
        call: How the model takes a batch; by default ``model(*batch)``, of a ``Data`` ``model(x, edge_index)``.

    Raises:
        UsageError: If there is no batch, or nothing to calibrate.
        DataError: If a range holds NaN or infinity.
    """
    quantizers = [module for module in model.modules() if isinstance(module, (Quantizer, NodeQuantizer))]
    if not quantizers:
        raise UsageError("the model has no quantiser to calibrate: give it to quantize() first.")
    before = {module: module.training for module in model.modules()}
    count = 0
    try:
        model.eval()
        for quantizer in quantizers:
            quantizer.train()
        with torch.no_grad():
            for batch in batches:
                (call or _call)(model, batch)
                count += 1
    finally:
        for module, training in before.items():
            module.training = training
    if count == 0:
        raise UsageError("calibrate() got no batch: give it some of the training data.")
    for quantizer in quantizers:
        if isinstance(quantizer, Quantizer) and quantizer.precision.per != "row" and int(quantizer.seen):
            quantizer.check_range()


def _call(model: torch.nn.Module, batch: Any) -> object:
    return model(*batch) if isinstance(batch, tuple) else model(batch.x, batch.edge_index)


def _visit(module: torch.nn.Module, prefix: str, config: QuantConfig, shared: Protection, flow: Flow | None) -> int:
    """Quantises the children of ``module``, and theirs; how many layers that were."""
    found = 0
    for part, child in list(module.named_children()):
        name = f"{prefix}.{part}" if prefix else part
        shown = name.removeprefix("model").removeprefix(".")  # as the user knows it
        label = _label(shown)
        if shown in config.skip:
            continue
        if isinstance(child, _FUSED):
            raise _unknown(child, shown, "its linear layers")
        if isinstance(child, MessagePassing):
            inner = Flow(shared)
            found += 1 + _visit(child, name, config, shared, inner)
            LayerPoints(child, config, inner, label)
            _round_matrices(child, config, shown)
        elif type(child) in (torch.nn.Linear, PyGLinear):
            setattr(module, part, _rounded(child, config, flow, label))
            found += 1
        else:
            if isinstance(child, torch.nn.Embedding):
                found += 1
            _round_matrices(child, config, shown)
            found += _visit(child, name, config, shared, flow)
    return found


def _rounded(linear: Any, config: QuantConfig, flow: Flow | None, label: str) -> RoundedLinear:
    weight = linear.weight
    if isinstance(weight, torch.nn.parameter.UninitializedParameter):
        raise UsageError(f"{label} has no weight yet: run the model on one batch before quantize(), or give its sizes.")
    rounds = _weight_quantizer(weight, config, label)
    reads = feature_quantizer(config.input, f"the input of {label}")
    rounded = RoundedLinear(weight, linear.bias, rounds, reads, flow)
    return rounded.train(linear.training)


def _round_matrices(module: torch.nn.Module, config: QuantConfig, shown: str) -> None:
    """Rounds the matrices that ``module`` holds itself, where it is known how it uses them."""
    matrices = [part for part, weight in module.named_parameters(recurse=False) if weight.dim() >= 2]
    if not matrices:
        return
    if not isinstance(module, _WHOLE):
        raise _unknown(module, shown, f"'{matrices[0]}'")
    for part in matrices:
        quantizer = _weight_quantizer(getattr(module, part), config, _label(shown))
        if quantizer is not None:
            parametrize.register_parametrization(module, part, quantizer)


def _weight_quantizer(weight: Tensor, config: QuantConfig, label: str) -> Quantizer | None:
    if config.weight is None:
        return None
    return Quantizer(config.weight, weight.size(0), dim=0, name=f"the weight of {label}").to(weight.device)


def _label(shown: str) -> str:
    return f"layer '{shown}'" if shown else "the model"


def _unknown(module: torch.nn.Module, shown: str, holds: str) -> UsageError:
    kept = f"Leave it in float with QuantConfig(skip=('{shown}',)), or build" if shown else "Build"
    kind = type(module).__name__
    return UsageError(
        f"{_label(shown)} is a {kind}, and how it uses {holds} is not known to quantize()."
        f" {kept} it from linear layers and PyG's MessagePassing."
    )
