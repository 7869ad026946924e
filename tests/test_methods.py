"""docs/methods.md against the docstrings: every layer has a row, which names the papers that the docstring names."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import graphlearn

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
PAPER = re.compile(r"arXiv:\d{4}\.\d{4,5}")


def layers() -> dict[str, type]:
    """Every public torch module of nn and models, and of the students, by name.

    Quantised layers, and those of the search over bits, stand in for these and have a paragraph.
    """
    root = Path(graphlearn.__file__).parent
    modules = [
        importlib.import_module(module.name)
        for part in ("nn", "models", "compress")
        for module in pkgutil.walk_packages([str(root / part)], f"graphlearn.{part}.")
    ]
    classes = [value for module in modules for value in vars(module).values() if inspect.isclass(value)]
    return {
        value.__name__: value
        for value in classes
        if issubclass(value, torch.nn.Module)
        and value.__module__.startswith("graphlearn.")
        and not value.__module__.startswith(("graphlearn.compress.quantize", "graphlearn.compress.lpgnas"))
        and not value.__name__.startswith("_")
    }


def rows() -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE.read_text(), re.MULTILINE))


def test_every_layer_has_a_row_and_every_row_a_layer():
    assert set(rows()) == set(layers())


@pytest.mark.parametrize("name", sorted(rows()))
def test_the_row_names_the_papers_of_the_docstring(name):
    papers = rows()[name].split("|")[0]
    assert set(PAPER.findall(papers)) == set(PAPER.findall(inspect.getdoc(layers()[name])))
