"""Encoders: a row, or its age, as one vector."""

from graphlearn.nn.encoder.row import RowEncoder
from graphlearn.nn.encoder.since import SinceEncoder
from graphlearn.nn.encoder.time import AgeEncoder

__all__ = ["AgeEncoder", "RowEncoder", "SinceEncoder"]
