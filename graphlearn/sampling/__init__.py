"""What one seed may see: temporal neighbours, and mini-batches of them."""

from graphlearn.sampling.neighbor import TemporalNeighborSampler

__all__ = ["TemporalNeighborSampler"]
