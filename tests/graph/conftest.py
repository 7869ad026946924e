"""Lets the tests of this folder import their helper `slow_graph`; nothing else is put on the import path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
