"""Aggregations: what a group of rows says together."""

import graphlearn.nn.aggr.register
from graphlearn.nn.aggr.gnp import GNPAggregation, order_parameters
from graphlearn.nn.aggr.segment import SegmentAggregation

__all__ = ["GNPAggregation", "SegmentAggregation", "order_parameters"]
