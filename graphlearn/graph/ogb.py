"""Datasets and evaluators of the Open Graph Benchmark, through its package, offline and without unpickling code."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from graphlearn.errors import SourceError, UsageError, unknown_name

METRICS = {
    "ogbl-ppa": "hits@100",
    "ogbl-collab": "hits@50",
    "ogbl-citation2": "mrr",
    "ogbl-ddi": "hits@20",
    "ogbl-vessel": "auc",
}
"""Datasets of links of one kind -> their metric."""


def evaluator(name: str) -> Any:
    """OGB's ``Evaluator`` of a dataset.

    Raises:
        UnknownNameError: If there is no such dataset of links of one kind.
        UsageError: If the package ``ogb`` is not installed.
    """
    _check_name(name)
    return _package().Evaluator(name)


def read_ogb(name: str, root: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The graph and the official split of a dataset that was downloaded before, as OGB gives them.

    Nothing is downloaded and nothing is written: the raw files are read each time.

    Raises:
        UnknownNameError: If there is no such dataset of links of one kind.
        SourceError: If the dataset is not in ``root``, or a file of it holds something else than numbers.
        UsageError: If the package ``ogb`` is not installed.
    """
    _check_name(name)
    folder = root / name.replace("-", "_")
    raw = folder / "raw" / ("data.npz" if name == "ogbl-vessel" else "edge.csv.gz")
    # Without the second file OGB asks on the terminal whether to download the dataset again.
    if not raw.is_file() or not (folder / "RELEASE_v1.txt").is_file():
        raise SourceError(
            f"{name} is not in {root}: it needs {raw} and RELEASE_v1.txt beside its folder. Nothing is downloaded "
            f'here; with a network, python -c "from ogb.linkproppred import LinkPropPredDataset; '
            f"LinkPropPredDataset('{name}', root='{root}')\" does it. --root names another folder."
        )
    package = _package()

    class Raw(package.LinkPropPredDataset):  # type: ignore[name-defined, misc]
        """Leaves out what OGB keeps of the raw files: a pickle, of which torch reads some only as trusted code."""

        def pre_process(self) -> None:
            reading = importlib.import_module("ogb.io.read_graph_raw")
            read = reading.read_binary_graph_raw if raw.suffix == ".npz" else reading.read_csv_graph_raw
            inverse = self.meta_info["add_inverse_edge"] == "True"
            self.graph = read(str(raw.parent), add_inverse_edge=inverse)[0]

    said = io.StringIO()
    with contextlib.redirect_stdout(said), torch.serialization.safe_globals(_NUMBERS):
        try:
            dataset = Raw(name, root=str(root))
            return dataset[0], dataset.get_edge_split()
        except Exception as error:  # whatever a broken file makes of it
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise SourceError(f"{folder} cannot be read as {name}: {reason}. Download it again.") from error


def _check_name(name: str) -> None:
    if name in ("ogbl-biokg", "ogbl-wikikg2"):
        raise SourceError(
            f"{name} has links of many kinds (relations), which link prediction here does not tell apart."
        )
    if name not in METRICS:
        raise unknown_name("OGB dataset of links", name, METRICS)


def _package() -> ModuleType:
    with _no_look_for_newer_versions():
        try:
            return importlib.import_module("ogb.linkproppred")
        except ImportError as error:
            raise UsageError("this needs the package ogb: pip install 'graphlearn[ogb]'.") from error


@contextlib.contextmanager
def _no_look_for_newer_versions() -> Iterator[None]:
    """Makes OGB believe that the package with which it asks the network is not installed."""
    before = sys.modules.get("outdated")
    sys.modules["outdated"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules["outdated"]
        else:
            sys.modules["outdated"] = before


# What arrays of numbers need to be read, under the names that old and new versions of numpy give it.
_NUMBERS: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("int16", "int32", "int64", "float32", "float64", "bool")),
    *(
        (getattr(multiarray, name), f"{module}.multiarray.{name}")
        for module in ("numpy.core", "numpy._core")
        for name in ("_reconstruct", "scalar")
    ),
]
