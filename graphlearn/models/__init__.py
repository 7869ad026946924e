"""Whole models: encoder, layers and head, from a schema and a frozen config."""

from graphlearn.models.ensemble import Ensemble
from graphlearn.models.frame import frame_encoder
from graphlearn.models.kl_gnn import KLGNN
from graphlearn.models.kl_presets import IDGNN, MoleculeKL, PairLabelGNN
from graphlearn.models.label_tuples import LabelTuples
from graphlearn.models.ppgn import PPGN
from graphlearn.models.rdl import ModelConfig, RelationalModel

__all__ = [
    "IDGNN",
    "KLGNN",
    "PPGN",
    "Ensemble",
    "LabelTuples",
    "ModelConfig",
    "MoleculeKL",
    "PairLabelGNN",
    "RelationalModel",
    "frame_encoder",
]
