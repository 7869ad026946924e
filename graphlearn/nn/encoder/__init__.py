"""Encoders: a row, its age, or what was computed of it, as one vector."""

from graphlearn.nn.encoder.row import RowEncoder
from graphlearn.nn.encoder.seed_features import SeedFeatures
from graphlearn.nn.encoder.since import SinceEncoder
from graphlearn.nn.encoder.time import AgeEncoder

__all__ = ["AgeEncoder", "RowEncoder", "SeedFeatures", "SinceEncoder"]
