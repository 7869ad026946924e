"""Lets the tests of this folder import their helper `slow_sampler`; nothing else is put on the import path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
