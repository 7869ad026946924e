"""Run and database to predictions: training, evaluation, audit, tables and files."""

from graphlearn.predict.audit import audit
from graphlearn.predict.backtest import backtest
from graphlearn.predict.ranking_run import RankingRun, load
from graphlearn.predict.run import Run
from graphlearn.predict.train import train
from graphlearn.predict.write import write_predictions

__all__ = ["RankingRun", "Run", "audit", "backtest", "load", "train", "write_predictions"]
