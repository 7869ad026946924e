"""Low precision: quantisers, models that are trained or calibrated with them, and models that compute in integers."""

from graphlearn.compress.quantize.a2q import NodeQuantizer, memory_penalty
from graphlearn.compress.quantize.config import A2Q, W4A4, W4A8, W8A8, DegreeQuant, NodeWidths, QuantConfig
from graphlearn.compress.quantize.convert import convert
from graphlearn.compress.quantize.lists import ListQuantizer
from graphlearn.compress.quantize.model import calibrate, quantize
from graphlearn.compress.quantize.precision import Precision
from graphlearn.compress.quantize.protect import protected, protection
from graphlearn.compress.quantize.quantizer import Quantizer
from graphlearn.compress.quantize.size import SizeReport, size_report

__all__ = [
    "A2Q",
    "W4A4",
    "W4A8",
    "W8A8",
    "DegreeQuant",
    "ListQuantizer",
    "NodeQuantizer",
    "NodeWidths",
    "Precision",
    "QuantConfig",
    "Quantizer",
    "SizeReport",
    "calibrate",
    "convert",
    "memory_penalty",
    "protected",
    "protection",
    "quantize",
    "size_report",
]
