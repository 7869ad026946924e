"""The shop's generator, loaded by its path as the demo does, and a small shop that it made."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path, name: str) -> ModuleType:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    return load(ROOT / "datasets" / "shop" / "generate.py", "shop_generator")


@pytest.fixture(scope="session")
def small(generator: ModuleType) -> Any:
    """A shop of 300 customers."""
    return generator.simulate(seed=3, customers=300)


@pytest.fixture(scope="session")
def benchmark_script() -> ModuleType:
    """benchmarks/shop_ceiling.py; its helpers lie beside it."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return load(ROOT / "benchmarks" / "shop_ceiling.py", "shop_ceiling")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
