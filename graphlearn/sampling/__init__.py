"""What one seed may see: temporal neighbours, and mini-batches of them."""

from graphlearn.sampling.convert import edge_index, to_pyg
from graphlearn.sampling.loader import SeedLoader
from graphlearn.sampling.neighbor import TemporalNeighborSampler

__all__ = ["SeedLoader", "TemporalNeighborSampler", "edge_index", "to_pyg"]
