"""Smaller and faster models: students that need no graph, and low precision (:mod:`graphlearn.compress.quantize`)."""

from graphlearn.compress.context import ContextSampler
from graphlearn.compress.distill import DistillConfig, DistillData, DistillResult, LinkDistiller, LinkStudent
from graphlearn.compress.embedding_table import EmbeddingTable
from graphlearn.compress.export import ExportedStudent, export_student
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
    "EmbeddingTable",
    "ExportedStudent",
    "LLPLoss",
    "LinkDistiller",
    "LinkStudent",
    "LogitMatching",
    "MLPStudent",
    "ProductionLinkSplit",
    "ProductionSplit",
    "RepresentationMatching",
    "export_student",
]
