"""How often rows were named lately: degrees that decay with the age of the rows that name them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.ops.csr_torch import entries_to_rows


def decayed_degrees(graph: HeteroData, table: str, time: int, half_lives: Sequence[float]) -> Tensor:
    r"""For each row of a table, how many rows name it by ``time``, each counted less the older it is.

    .. math:: d_h(i) = \sum_{c \to i,\; t_c \le t} 2^{-(t - t_c) / h}

    for each foreign key to the table, in the order of the names of edge types, and each half-life. Rows without a time
    are always there: they count 1.

    Cost: ``O(E)`` for the E rows that name one.

    Args:
        graph: From :func:`~graphlearn.graph.build_graph`.
        table: The table.
        time: What is newer is not looked at, microseconds UTC.
        half_lives: In microseconds; infinity counts all the same.

    Shapes:
        - returns ``[N, keys * len(half_lives)]`` float32
    """
    columns = []
    for source, relation, target in sorted(graph.edge_types):
        store = graph[source, relation, target]
        if target != table or "rowptr" not in store:
            continue
        row, child = entries_to_rows(store.rowptr, store.col.numel()), store.col.long()
        if "time" in graph[source]:
            age = time - graph[source].time[child]
            age = torch.where(child < graph[source].num_undated, 0, age)
        else:
            age = torch.zeros_like(child)
        seen = (age >= 0).float()
        for half_life in half_lives:
            weight = seen * torch.exp2(-(age.double() / half_life)).float()
            columns.append(weight.new_zeros(graph[table].num_nodes).index_add_(0, row, weight))
    if not columns:
        return torch.zeros(graph[table].num_nodes, 0)
    return torch.stack(columns, dim=1)
