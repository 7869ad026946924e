"""For users of PyG: graphs and batches with an ``edge_index`` instead of CSR."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import UsageError, unknown_name
from graphlearn.sampling.arrays import edge_type_name
from graphlearn.typing import EdgeType


def edge_index(data: HeteroData, edge_type: EdgeType) -> Tensor:
    """The edges of one type of a graph or a batch, sorted by destination: ``[0]`` source, ``[1]`` destination.

    Shapes:
        - returns ``[2, E]`` int64

    Raises:
        UsageError: If the edge type is unknown or holds neither ``rowptr`` and ``col`` nor ``index``.
    """
    if edge_type not in data.edge_types:
        raise unknown_name("edge type", edge_type_name(edge_type), map(edge_type_name, data.edge_types))
    store = data[edge_type]
    if "rowptr" in store and "col" in store:
        rowptr, col = store["rowptr"], store["col"]
        node = torch.arange(rowptr.numel() - 1, device=rowptr.device)
        owner = torch.repeat_interleave(node, rowptr.diff(), output_size=col.numel())
        return torch.stack([col.long(), owner])
    if "index" in store:
        index = store["index"].long()
        child = (index >= 0).nonzero().squeeze(1)
        return torch.stack([index[child], child])
    raise UsageError(f"edge type {edge_type} has neither 'rowptr' and 'col' nor 'index', so it has no edges to list.")


def to_pyg(batch: HeteroData) -> HeteroData:
    """A batch of `TemporalNeighborSampler` as PyG's loaders make them: ``edge_index`` per edge type, ``n_id`` and
    ``batch`` per node type, and how many nodes and edges each hop added; the tensors are shared with ``batch``.
    """
    data = HeteroData()
    for node_type in batch.node_types:
        for name in ("num_nodes", "n_id", "batch", "num_sampled_nodes"):
            data[node_type][name] = batch[node_type][name]
    for edge_type in batch.edge_types:
        data[edge_type].edge_index = edge_index(batch, edge_type)
        data[edge_type].num_sampled_edges = batch[edge_type].num_sampled_edges
    data[batch.seed_type].batch_size = batch.seed_time.numel()
    data[batch.seed_type].seed_time = batch.seed_time
    return data
