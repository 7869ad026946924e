"""Which columns the predictions of a run hang on: each is mixed up among the rows of its table in turn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch_frame import TensorFrame

from graphlearn.predict.audit_inputs import sample_seeds, take
from graphlearn.predict.evaluate import Scored
from graphlearn.predict.run import Run
from graphlearn.training.scoring import predict_seeds

_ROWS = 1000


def importance(run: Run, scored: Scored) -> pd.DataFrame:
    """How far predictions move when a column is mixed up, as shares of all columns together.

    Cost: one prediction of a sample of rows per column.

    Args:
        run: The run, whose model is a network on the graph.
        scored: Its predictions for a split; the graph is left as it was.

    Returns:
        table, column and share, the largest first; shares sum to 1, or are all 0 if nothing moves a prediction.
    """
    graph, rows = scored.graph, sample_seeds(scored.seeds, _ROWS)
    seeds, before = take(scored.seeds, rows), scored.prediction[rows.numpy()]
    generator = torch.Generator().manual_seed(0)
    found = []
    for table in graph.node_types:
        whole: TensorFrame = graph[table].tf
        order = torch.randperm(graph[table].num_nodes, generator=generator)
        for kind, names in whole.col_names_dict.items():
            mixed = whole.feat_dict[kind][order]
            for i, column in enumerate(names):
                graph[table].tf = _with_column(whole, kind, mixed, i)
                moved = np.abs(predict_seeds(run.model, graph, seeds).numpy() - before)
                found.append({"table": table, "column": column, "share": float(moved.mean())})
        graph[table].tf = whole
    shares = pd.DataFrame(found, columns=["table", "column", "share"])
    shares["share"] /= shares["share"].sum() or 1.0
    return shares.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _with_column(whole: TensorFrame, kind: object, mixed: object, i: int) -> TensorFrame:
    """``whole`` with column ``i`` of one kind taken from ``mixed``."""
    block = whole.feat_dict[kind]
    columns = [(mixed if j == i else block)[:, j : j + 1] for j in range(block.shape[1])]
    joined = torch.cat(columns, dim=1) if isinstance(block, torch.Tensor) else type(block).cat(columns, dim=1)
    return TensorFrame({**whole.feat_dict, kind: joined}, whole.col_names_dict)
