"""LPGNAS: a search over the architecture of a GNN and the bits of each of its parts."""

from graphlearn.compress.lpgnas.result import Derived, PartCost
from graphlearn.compress.lpgnas.search import LPGNAS
from graphlearn.compress.lpgnas.space import Architecture, BlockChoice, QuantSpace, SearchSpace
from graphlearn.compress.lpgnas.tasks import GraphTask, LinkTask, NodeTask, SearchTask

__all__ = [
    "LPGNAS",
    "Architecture",
    "BlockChoice",
    "Derived",
    "GraphTask",
    "LinkTask",
    "NodeTask",
    "PartCost",
    "QuantSpace",
    "SearchSpace",
    "SearchTask",
]
