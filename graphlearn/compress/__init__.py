"""Smaller and faster models: students that need no graph, and low precision."""

from graphlearn.compress.context import ContextSampler
from graphlearn.compress.distill import DistillConfig, DistillData, DistillResult, LinkDistiller, LinkStudent
from graphlearn.compress.llp import LLPLoss, LogitMatching, RepresentationMatching
from graphlearn.compress.lpgnas import LPGNAS
from graphlearn.compress.production_split import ProductionLinkSplit, ProductionSplit
from graphlearn.compress.student import MLPStudent

__all__ = [
    "LPGNAS",
    "ContextSampler",
    "DistillConfig",
    "DistillData",
    "DistillResult",
    "LLPLoss",
    "LinkDistiller",
    "LinkStudent",
    "LogitMatching",
    "MLPStudent",
    "ProductionLinkSplit",
    "ProductionSplit",
    "RepresentationMatching",
]
