"""Makes the aggregations known to PyG by name.

PyG turns the name in ``SAGEConv(16, 32, aggr="gnp")`` into a class by looking through the public names of
``torch_geometric.nn.aggr`` for one that is called so, with or without ``Aggregation``; there is no function to add a
name. So loading this module puts ours there: ``"gnp"`` and ``"segment"``. Their arguments go into ``aggr_kwargs``:
``SAGEConv(16, 32, aggr="segment", aggr_kwargs={"reduce": "min"})``.

The limit: it is an attribute of another package's module, found for as long as PyG looks there, and names work only
after ``graphlearn.nn`` was imported, also where a model is loaded. ``aggr=GNPAggregation()`` needs neither.
"""

from __future__ import annotations

import torch_geometric.nn.aggr

from graphlearn.nn.aggr.gnp import GNPAggregation
from graphlearn.nn.aggr.segment import SegmentAggregation

__all__ = ["GNPAggregation", "SegmentAggregation"]

for _aggregation in (GNPAggregation, SegmentAggregation):
    setattr(torch_geometric.nn.aggr, _aggregation.__name__, _aggregation)
