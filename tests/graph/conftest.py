"""Lets the tests of this folder import their helper `slow_graph`, and `little_shop` from tests/predict."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "predict")]
