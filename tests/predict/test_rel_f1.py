"""The main job on real data, shortened to seconds: rel-f1 in, a model that beats the constant, predictions out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphlearn.models import ModelConfig
from graphlearn.predict import load, train
from graphlearn.schema import connect
from graphlearn.tasks import Task
from graphlearn.training import TrainConfig

SMALL = ModelConfig(channels=16, num_neighbors=(8, 4), dropout=0.1)
SHORT = TrainConfig(epochs=6, min_steps=1, batch_size=128, max_steps=20, lr=5e-3)


@pytest.mark.parametrize(
    ("name", "metric", "better"),
    [("driver-top3", "auroc", 0.2), ("driver-dnf", "auroc", 0.15), ("driver-position", "mae", -0.8)],
)
def test_a_few_steps_beat_the_constant(rel_f1: Path, tmp_path: Path, name: str, metric: str, better: float):
    db = connect(rel_f1)
    run = train(
        db,
        Task(db, name),
        out=tmp_path / "run",
        model="gnn",
        regime="rolling",
        refit=False,  # what has trained on validation cannot be scored on it
        model_config=SMALL,
        train_config=SHORT,
        progress=False,
    )
    table = run.compare("val").set_index("model")[metric]
    gain = table["this run"] - table["constant"]
    assert gain * np.sign(better) > abs(better), table

    moved = (tmp_path / "run").rename(tmp_path / "moved")
    predicted = load(moved).predict(db, at="2010-06-01")
    assert len(predicted) == db.num_rows("drivers")
    assert predicted["pkey"].is_monotonic_increasing
    assert predicted["prediction"].nunique() > 100
