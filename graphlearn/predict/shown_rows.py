"""Rows that an explanation names, read from the source as they stand there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch_geometric.data import HeteroData

from graphlearn.graph.values import row_values
from graphlearn.predict.explanation import Cell, RowEffect
from graphlearn.schema import Database
from graphlearn.tasks.times import time_text


@dataclass(frozen=True)
class Pick:
    """One row and what it does.

    Attributes:
        table: Its table.
        node: Its number in the graph.
        attribution: See :class:`~graphlearn.predict.explanation.RowEffect`.
        alone: Likewise.
        cells: The attribution of each column.
    """

    table: str
    node: int
    attribution: float
    alone: float | None
    cells: dict[str, float]


def show_rows(
    db: Database, graph: HeteroData, entity: tuple[str, int], picks: Sequence[Pick], hidden: frozenset[tuple[str, str]]
) -> list[RowEffect]:
    """The rows in their order, with keys and columns; one query for each table.

    Args:
        db: The database.
        graph: Its graph.
        entity: Table and node of the entity: a key that names it is not shown, because most rows have one.
        picks: The rows.
        hidden: ``(table, column)`` pairs that are not shown.
    """
    values: list[dict[str, Any]] = [{} for _ in picks]
    for name in dict.fromkeys(pick.table for pick in picks):
        places = [i for i, pick in enumerate(picks) if pick.table == name]
        nodes = torch.tensor([picks[i].node for i in places])
        for i, row in zip(places, row_values(db, graph, name, nodes, hidden=hidden), strict=True):
            values[i] = row
    return [_row(db, graph, entity, pick, row) for pick, row in zip(picks, values, strict=True)]


def _row(db: Database, graph: HeteroData, entity: tuple[str, int], pick: Pick, values: dict[str, Any]) -> RowEffect:
    table, store = db.schema[pick.table], graph[pick.table]
    own = graph[entity[0]].pkey[entity[1]].as_py()
    others = [key for key in table.fkeys if key.table != entity[0] or values.get(key.name) != own]
    keys = dict.fromkeys([*table.pkey, *(column for key in others for column in key.columns)])
    ranked = sorted(pick.cells, key=lambda column: -abs(pick.cells[column]))
    return RowEffect(
        table=pick.table,
        pkey=store.pkey[pick.node].as_py() if table.pkey else None,
        time=time_text(int(store.time[pick.node])) if "time" in store and pick.node >= store.num_undated else None,
        attribution=pick.attribution,
        alone=pick.alone,
        keys={column: values[column] for column in keys if column in values},
        cells=tuple(Cell(column, values.get(column), pick.cells[column]) for column in ranked),
    )
