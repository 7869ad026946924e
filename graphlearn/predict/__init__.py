"""Run and database to predictions: training, evaluation, tables and files."""

from graphlearn.predict.run import Run, load
from graphlearn.predict.train import train

__all__ = ["Run", "load", "train"]
