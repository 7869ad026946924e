"""Models of PyTorch Frame as row encoders: every kind of column, missing cells, and a training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from little_shop import make_task, open_tables, tables, train_fast
from torch_frame import TensorFrame, stype
from torch_frame.nn.encoder import LinearBucketEncoder
from torch_frame.nn.models import MLP, ExcelFormer, FTTransformer, ResNet, Trompt

from graphlearn.errors import UsageError
from graphlearn.graph import build_graph
from graphlearn.models import frame_encoder
from graphlearn.schema import Column, Schema, Table, connect

MODELS = [(ResNet, {"num_layers": 2}), (FTTransformer, {"num_layers": 1}), (MLP, {"num_layers": 2})]


@pytest.fixture(scope="module")
def every_kind():
    """A graph of one table that has every kind of column, with missing cells in each."""
    rows = 12
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "number": [1.5, np.nan, *range(10)],
            "kind": ["a", None, *("bc" * 5)],
            "tags": ["x|y", None, "", *("y|z",) * 9],
            "made": [pd.NaT, *pd.date_range("1999-01-01", periods=rows - 1, freq="400D")],
            "note": ["some words", None, *("other words",) * 10],
            "vector": [[1.0, 2.0], None, *([0.5, 0.25],) * 10],
        }
    )
    stypes = ["numerical", "categorical", "multicategorical", "timestamp", "text", "embedding"]
    columns = (Column("id"), *(Column(name, stype=kind) for name, kind in zip(frame.columns[1:], stypes, strict=True)))
    db = connect({"things": frame}, schema=Schema("kinds", {"things": Table("things", pkey=("id",), columns=columns)}))
    return build_graph(db)


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_every_kind_of_column(every_kind, model, settings):
    store = every_kind["things"]
    torch.manual_seed(0)
    encoder = frame_encoder(model, **settings)(8, store.col_stats, store.tf.col_names_dict)
    out = encoder(store.tf)
    assert out.shape == (12, 8)
    assert torch.isfinite(out).all()
    out.pow(2).sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(grad).all() for grad in gradients)  # missing numbers would give NaN
    assert encoder(store.tf[torch.tensor([], dtype=torch.int64)]).shape == (0, 8)


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_a_relational_model_trains_with_it(tmp_path, model, settings):
    frames = tables()
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames), tmp_path / "run", encoder=frame_encoder(model, **settings))
    assert np.isfinite(run.evaluate("test")["auroc"])
    assert type(run.model.encoder["t0"].model) is model


def test_the_name_says_what_it_was():
    assert frame_encoder(ResNet, num_layers=2).__name__ == "frame_encoder(ResNet, num_layers=2)"
    assert frame_encoder(MLP).__name__ == "frame_encoder(MLP)"


def test_ones_own_encoders_are_kept(every_kind):
    store = every_kind["things"]
    names = {stype.numerical: ["number"]}
    mine = {stype.numerical: LinearBucketEncoder()}
    encoder = frame_encoder(ResNet, num_layers=1, stype_encoder_dict=mine)(8, store.col_stats, names)
    assert any(isinstance(module, LinearBucketEncoder) for module in encoder.modules())


def test_what_is_no_table_model():
    with pytest.raises(UsageError, match=r"Linear has no argument 'out_channels', so it is no table model of PyTorch"):
        frame_encoder(torch.nn.Linear)


def test_a_model_that_gives_more_than_a_vector(every_kind):
    store = every_kind["things"]
    names = {kind: store.tf.col_names_dict[kind] for kind in (stype.numerical, stype.categorical)}
    some = TensorFrame({kind: store.tf.feat_dict[kind] for kind in names}, names)
    encoder = frame_encoder(Trompt, num_prompts=2, num_layers=2)(8, store.col_stats, names)
    with pytest.raises(UsageError, match=r"Trompt must give one vector per row, \[12, 8\], but gave \[12, 2, 8\]"):
        encoder(some)


def test_in_channels_is_channels_too(every_kind):
    store = every_kind["things"]
    names = {stype.numerical: ["number"]}
    encoder = frame_encoder(ExcelFormer, num_cols=1, num_layers=1, num_heads=2)(8, store.col_stats, names)
    assert encoder.model.in_channels == 8
