"""Every benchmark runs: once, with tiny sizes, keeping nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.name != "common.py")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_tiny(script, data_dir):
    kept = {path: path.read_bytes() for path in (ROOT / "benchmarks" / "results").glob("*")}
    done = subprocess.run(
        [sys.executable, str(script), "--tiny", "--no-store"],
        capture_output=True,
        text=True,
        env={**os.environ, "GRAPHLEARN_TEST_DATA": str(data_dir)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert rows
    assert all(row["versions"]["torch"] and row["machine"]["cores"] for row in rows)
    assert kept == {path: path.read_bytes() for path in (ROOT / "benchmarks" / "results").glob("*")}
