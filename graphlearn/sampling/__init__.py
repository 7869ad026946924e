"""What one seed may see: temporal neighbours, and mini-batches of them."""

from graphlearn.sampling.convert import edge_index, to_pyg
from graphlearn.sampling.link_split import LinkSplit, new_node_split, random_link_split, temporal_link_split
from graphlearn.sampling.loader import SeedLoader
from graphlearn.sampling.negative import (
    degree_negatives,
    hard_negatives,
    historical_negatives,
    uniform_negatives,
)
from graphlearn.sampling.neighbor import TemporalNeighborSampler
from graphlearn.sampling.split_negatives import with_negatives
from graphlearn.sampling.subgraph import EnclosingSubgraph, LinkSubgraphLoader

__all__ = [
    "EnclosingSubgraph",
    "LinkSplit",
    "LinkSubgraphLoader",
    "SeedLoader",
    "TemporalNeighborSampler",
    "degree_negatives",
    "edge_index",
    "hard_negatives",
    "historical_negatives",
    "new_node_split",
    "random_link_split",
    "temporal_link_split",
    "to_pyg",
    "uniform_negatives",
    "with_negatives",
]
