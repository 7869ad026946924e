"""What one seed may see: temporal neighbours, and mini-batches of them."""

from graphlearn.sampling.convert import edge_index, to_pyg
from graphlearn.sampling.loader import SeedLoader
from graphlearn.sampling.neighbor import TemporalNeighborSampler
from graphlearn.sampling.subgraph import EnclosingSubgraph, LinkSubgraphLoader

__all__ = [
    "EnclosingSubgraph",
    "LinkSubgraphLoader",
    "SeedLoader",
    "TemporalNeighborSampler",
    "edge_index",
    "to_pyg",
]
