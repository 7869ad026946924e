"""Both sets of kernels, for tests that must hold for either."""

from __future__ import annotations

import pytest
import torch

from graphlearn.ops import csr_native

needs_native = pytest.mark.skipif(
    not csr_native.usable(torch.device("cpu")), reason="the native kernels were not built"
)


@pytest.fixture(params=[pytest.param("native", marks=needs_native), "torch"])
def backend(request, monkeypatch):
    """Each test on both sets of kernels."""
    if request.param == "torch":
        monkeypatch.setattr(csr_native, "usable", lambda *_: False)
    return request.param
