"""Aggregations: what a group of rows says together."""

from graphlearn.nn.aggr.gnp import order_parameters
from graphlearn.nn.aggr.register import GNPAggregation, SegmentAggregation

__all__ = ["GNPAggregation", "SegmentAggregation", "order_parameters"]
