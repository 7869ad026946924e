"""Keeps ``torch.compile`` out of functions that it cannot trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch

_P = ParamSpec("_P")
_R = TypeVar("_R")


def eager(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same function, run as it is inside a compiled model too.

    For the kernels: they take the addresses of tensors, which a traced tensor has not.
    """
    return cast("Callable[_P, _R]", torch.compiler.disable(function))  # type: ignore[no-untyped-call]
