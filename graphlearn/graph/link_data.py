"""Graphs whose links are predicted: published datasets, files of edges, and tables of a database."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.io import loadmat
from torch import Tensor

from graphlearn.errors import SourceError, UsageError, unknown_name
from graphlearn.graph.ogb import METRICS, read_ogb

PLANETOID = ("Cora", "CiteSeer", "PubMed")
NPZ = {
    "Computers": "amazon_electronics_computers.npz",
    "Photo": "amazon_electronics_photo.npz",
    "CS": "ms_academic_cs.npz",
    "Physics": "ms_academic_phy.npz",
}
EDGE_LISTS = (".csv", ".tsv", ".txt", ".parquet", ".pq")


@dataclass(frozen=True)
class LinkData:
    """A graph and what is known of its links.

    Attributes:
        name: Of the dataset.
        edge_index: Its links, in any direction, int64 ``[2, E]``.
        num_nodes: Number of nodes.
        x: Features of the nodes, float32 ``[N, F]``, or None.
        time: When each edge was, int64 ``[E]``, or None: microseconds UTC, or the numbers of the source.
        num_src: With two kinds of nodes, how many are of the first, which come first.
        names: What the source calls each node, or None for its number.
        kinds: What the source calls the kinds of nodes.
        given: The published split: of ``train``, ``val`` and ``test`` the links ``[2, L]``, and under ``val_neg`` and
            ``test_neg`` the negatives, ``[2, M]`` or, of each link, ``[2, L, K]``. Of a split without ``val``, that of
            training holds both, and so do the negatives under ``train_neg``.
        metric: What the publisher scores by, or None.
        notes: What there is to say about how it was read.
    """

    name: str
    edge_index: Tensor
    num_nodes: int
    x: Tensor | None = None
    time: Tensor | None = None
    num_src: int | None = None
    names: tuple[object, ...] | None = None
    kinds: tuple[str, ...] = ("node",)
    given: Mapping[str, Tensor] = field(default_factory=dict)
    metric: str | None = None
    notes: tuple[str, ...] = ()


def is_dataset(name: str) -> bool:
    """Whether ``name`` is that of a published dataset rather than of a source."""
    return name.startswith("ogbl-") or name.lower() in {known.lower() for known in (*PLANETOID, *NPZ)}


def read_dataset(name: str, root: Path) -> LinkData:
    """A published dataset that is in ``root`` already; nothing is downloaded.

    Args:
        name: ``ogbl-ppa``, ``ogbl-collab``, ``ogbl-citation2``, ``ogbl-ddi`` or ``ogbl-vessel``; ``Cora``, ``CiteSeer``
            or ``PubMed``; ``Computers``, ``Photo``, ``CS`` or ``Physics``.
        root: The folder that holds the dataset's folder, as OGB and PyG lay it out.

    Raises:
        UnknownNameError: If there is no such dataset.
        SourceError: If it is not in ``root``, or cannot be read.
        UsageError: If it needs a package that is not installed.
    """
    if name.startswith("ogbl-"):
        return _of_ogb(name, root)
    known = {k.lower(): k for k in (*PLANETOID, *NPZ)}
    if name.lower() not in known:
        raise unknown_name("dataset", name, (*PLANETOID, *NPZ, *METRICS))
    name = known[name.lower()]
    raw = root / name / "raw"
    needed = raw / (NPZ[name] if name in NPZ else f"ind.{name.lower()}.graph")
    if not needed.is_file():
        kind = "Planetoid" if name in PLANETOID else "Amazon" if name in ("Computers", "Photo") else "Coauthor"
        raise SourceError(
            f"{name} is not in {root}: there is no {needed}. Nothing is downloaded here; with a network, "
            f"torch_geometric.datasets.{kind}('{root}', '{name}') does it. --root names another folder."
        )
    # PyG's readers, without the folder of processed files that its dataset classes write.
    from torch_geometric.io import read_npz, read_planetoid_data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old formats of numpy and scipy
        try:
            data = read_npz(str(needed)) if name in NPZ else read_planetoid_data(str(raw), name.lower())
        except Exception as error:  # whatever a broken file makes of it
            raise SourceError(f"{raw} cannot be read as {name}: {_words(error)}. Download it again.") from error
    return LinkData(name, data.edge_index, int(data.num_nodes), x=data.x.float())


def read_mat(path: Path, split_file: Path | None = None) -> LinkData:
    """A network of the SEAL repository: a ``.mat`` file with the sparse matrix ``net``, and a published split of it.

    Raises:
        SourceError: If a file is missing, is no such file, or its pairs name nodes that the network does not have.
    """
    net = _mat(path, ("net",))["net"]
    if not sp.issparse(net) or net.shape[0] != net.shape[1]:
        raise SourceError(f"{path}: 'net' must be a square sparse matrix, got {type(net).__name__} {net.shape}.")
    found = net.tocoo()
    edges = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    given: dict[str, Tensor] = {}
    if split_file is not None:
        keys = {"train_pos": "train", "train_neg": "train_neg", "test_pos": "test", "test_neg": "test_neg"}
        parts = _mat(split_file, tuple(keys))
        for key, name in keys.items():
            pairs = torch.from_numpy(parts[key].astype(np.int64)).t().contiguous() - 1  # counted from 1
            if pairs.size(0) != 2 or bool(((pairs < 0) | (pairs >= net.shape[0])).any()):
                raise SourceError(
                    f"{split_file}: '{key}' must hold pairs of the {net.shape[0]:,} nodes of {path.name}, from 1 on."
                )
            given[name] = pairs
    return LinkData(path.stem, edges, int(net.shape[0]), given=given)


def _mat(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise SourceError(f"there is no file {path}. Name a .mat file.")
    try:
        found: dict[str, Any] = loadmat(path, appendmat=False)
    except Exception as error:  # whatever a broken file makes of it
        raise SourceError(f"{path} cannot be read as a .mat file: {_words(error)}.") from error
    missing = [key for key in keys if key not in found]
    if missing:
        shown = ", ".join(key for key in found if not key.startswith("__")) or "nothing"
        raise SourceError(f"{path} has no '{missing[0]}', it holds: {shown}.")
    return found


def _of_ogb(name: str, root: Path) -> LinkData:
    graph, split = read_ogb(name, root)
    given: dict[str, Tensor] = {}
    for theirs, phase in (("train", "train"), ("valid", "val"), ("test", "test")):
        part = split[theirs]
        if "source_node" in part:
            given[phase] = torch.stack([_ints(part["source_node"]), _ints(part["target_node"])])
            if phase != "train":
                others = _ints(part["target_node_neg"])
                given[f"{phase}_neg"] = torch.stack([given[phase][0][:, None].expand_as(others), others])
        else:
            given[phase] = _ints(part["edge"]).t().contiguous()
            if phase != "train":
                given[f"{phase}_neg"] = _ints(part["edge_neg"]).t().contiguous()
    train = given["train"]
    loops = train[0] == train[1]
    given["train"] = train[:, ~loops]
    notes = (f"{int(loops.sum()):,} training links join a node with itself: left out",) if bool(loops.any()) else ()
    x = graph.get("node_feat")
    if x is not None:
        x = torch.as_tensor(x).float()
    edges = _ints(graph["edge_index"])
    return LinkData(name, edges, int(graph["num_nodes"]), x=x, given=given, metric=METRICS[name], notes=notes)


def _ints(values: Any) -> Tensor:
    return torch.as_tensor(values).long()


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def check_given(data: LinkData) -> None:
    """Raises ``UsageError`` unless the dataset has a published split."""
    if not data.given:
        raise UsageError(
            f"{data.name} has no published split: take --split random, temporal or new-node; of a .mat file, "
            f"--split-file names one."
        )
