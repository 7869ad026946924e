"""One readable loop, its seeds and its checkpoints."""

from graphlearn.training.checkpoint import load_run, load_state, save_run, save_state
from graphlearn.training.loop import TrainConfig, TrainState, fit
from graphlearn.training.scoring import predict_seeds
from graphlearn.training.seeds import Seeds, make_seeds, split_seeds

__all__ = [
    "Seeds",
    "TrainConfig",
    "TrainState",
    "fit",
    "load_run",
    "load_state",
    "make_seeds",
    "predict_seeds",
    "save_run",
    "save_state",
    "split_seeds",
]
