"""What PyTorch Frame's models make of our rows: their default encoders take them as they are."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch_frame
from torch_frame import NAStrategy
from torch_frame.nn import models
from torch_frame.nn.encoder import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    LinearEncoder,
    MultiCategoricalEmbeddingEncoder,
    TimestampEncoder,
)

from graphlearn.graph import build_graph, fit_statistics
from graphlearn.schema import Schema, connect
from graphlearn.schema.schema import Column, Table

ENCODERS: dict[torch_frame.stype, tuple[type, dict[str, Any]]] = {
    torch_frame.categorical: (EmbeddingEncoder, {}),
    torch_frame.numerical: (LinearEncoder, {"na_strategy": NAStrategy.MEAN}),
    torch_frame.multicategorical: (MultiCategoricalEmbeddingEncoder, {}),
    torch_frame.timestamp: (TimestampEncoder, {}),
    torch_frame.embedding: (LinearEmbeddingEncoder, {}),
}
MODELS = {"ResNet": models.ResNet, "FTTransformer": models.FTTransformer}


def forward(kind: str, store: Any) -> torch.Tensor:
    torch.manual_seed(0)
    model = MODELS[kind](
        channels=16,
        out_channels=4,
        num_layers=1,
        col_stats=store.col_stats,
        col_names_dict=store.tf.col_names_dict,
        stype_encoder_dict={stype: ENCODERS[stype][0](**ENCODERS[stype][1]) for stype in store.tf.col_names_dict},
    )
    out = model(store.tf)
    out.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    return out


@pytest.mark.parametrize("kind", MODELS)
def test_rel_f1(kind, rel_f1):
    graph = build_graph(connect(rel_f1), fit_until="2005-01-01")
    for store in graph.node_stores:
        out = forward(kind, store)
        assert out.shape == (store.num_nodes, 4)
        assert out.isfinite().all()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("fitted", ["on all rows", "on the first half", "on no row"])
def test_a_table_with_every_stype(kind, fitted):
    """Missing cells, unseen categories, years before the first, and columns that were empty when fitted."""
    size = 60
    rng = np.random.default_rng(0)

    def holes(values: list[Any]) -> list[Any]:
        return [None if rng.random() < 0.2 else value for value in values]

    start = dt.datetime(2020, 1, 1)
    columns = {
        "n": ("numerical", holes((rng.normal(size=size) * 10.0 ** rng.integers(-3, 20, size)).tolist())),
        "c": ("categorical", holes([f"c{i // 9}" for i in range(size)])),
        "m": ("multicategorical", holes([",".join(f"m{j}" for j in range(i // 9, i // 7)) for i in range(size)])),
        "born": ("timestamp", holes([start - dt.timedelta(days=300 * i) for i in range(size)])),
        "text": ("text", holes([f"row number {i}" for i in range(size)])),
        "v": ("embedding", holes([[1.0 * i, 2.0, 3.0] for i in range(size)])),
        "at": ("timestamp", [start + dt.timedelta(days=i) for i in range(size)]),
    }
    frame = pa.table({name: values for name, (_, values) in columns.items()})
    listed = tuple(Column(name, stype=stype) for name, (stype, _) in columns.items())
    db = connect({"t": frame}, schema=Schema("every", {"t": Table("t", time_col="at", columns=listed)}))
    until = {"on all rows": None, "on the first half": "2020-01-31", "on no row": "2019-01-01"}[fitted]
    store = build_graph(db, fit_until=until)["t"]
    assert len(store.tf.col_names_dict) == 5
    out = forward(kind, store)
    assert out.shape == (size, 4)
    assert out.isfinite().all()
    assert out.std(dim=0).min() > 0
    # A part of the rows, as a batch takes it.
    part = store.tf[torch.tensor([5, 0, 5])]
    assert part.num_rows == 3


def test_rows_by_their_numbers_are_those_rows():
    frame = pa.table({"x": [1.0, 2.0, 4.0], "m": ["a,b", None, "b"], "v": [[1.0], [2.0], [3.0]]})
    listed = (Column("x", stype="numerical"), Column("m", stype="multicategorical"), Column("v", stype="embedding"))
    db = connect({"t": frame}, schema=Schema("rows", {"t": Table("t", columns=listed)}))
    tf = build_graph(db, statistics=fit_statistics(db))["t"].tf
    part = tf[torch.tensor([2, 0])]
    vectors = tf.feat_dict[torch_frame.embedding].values.view(-1).tolist()
    assert part.feat_dict[torch_frame.embedding].values.view(-1).tolist() == [vectors[2], vectors[0]]
    sets = tf.feat_dict[torch_frame.multicategorical]
    assert part.feat_dict[torch_frame.multicategorical][0, 0].tolist() == sets[2, 0].tolist()
