"""Run and database to predictions: training, evaluation, audit, tables and files."""

from graphlearn.predict.audit import audit
from graphlearn.predict.finding import Audit, AuditFinding
from graphlearn.predict.run import Run, load
from graphlearn.predict.train import train
from graphlearn.predict.write import write_predictions

__all__ = ["Audit", "AuditFinding", "Run", "audit", "load", "train", "write_predictions"]
