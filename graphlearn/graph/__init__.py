"""Rows become nodes, foreign keys become edges."""

from graphlearn.graph.build import build_graph, node_index
from graphlearn.graph.statistics import Statistics, fit_statistics

__all__ = ["Statistics", "build_graph", "fit_statistics", "node_index"]
