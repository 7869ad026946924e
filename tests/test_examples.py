"""Every example runs as a user would run it, on a small shop, and says what it promises to say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"

PROMISES = {
    "churn.py": (["--customers", "200"], r"test AUROC 0\.\d+ \(frozen\), best possible 0\.\d+"),
    "distill_links.py": (["--nodes", "200", "--epochs", "30"], r"student, without any graph: .* new-new [01]\.\d\d"),
    "fused_messages.py": (["--nodes", "2000"], r"the same numbers as SAGEConv on 40,000 edges"),
    "graph_parsing.py": (["--graphs", "40", "--epochs", "5"], r"two rings of ten, parsed: 20 -> .*2 nodes"),
    "gnp_readout.py": (["--steps", "150"], r"harmonic mean  learned harmonic mean .* error on larger sets 0\.\d\d %"),
    "kl_substructures.py": (["--graphs", "400"], r"l = 4: triangles 0\.0000, 4-cycles 0\.0000"),
    "link_prediction.py": (
        ["--nodes", "300", "--epochs", "5"],
        r"gcn +AUC 0\.\d+ against random pairs, 0\.\d+ against hard ones; +Hits@20",
    ),
    "moved_run.py": (["--customers", "200"], r"predictions, equal to the last bit: True"),
    "own_labels.py": (["--customers", "200"], r"test MAE \d+\.\d+ \(frozen\)"),
    "recommend.py": (
        ["--customers", "40", "--steps", "1"],
        r"among the first 20 of \d+ of \d+ customers",
    ),
    "walk_pool_links.py": (["--nodes", "80"], r"AUC on hidden links after three passes: 0\.\d+"),
    "search_precision.py": (
        ["--nodes", "300", "--epochs", "15"],
        r"weight of size 0\.2: [\d,]+ bytes, test accuracy [01]\.\d",
    ),
    "quantize_gnn.py": (
        ["--epochs", "15"],
        r"integers\s+\d+ bytes.*\n.*the same class for (100|99)\.\d % of the nodes",
    ),
    "own_pyg_model.py": (["--customers", "200"], r"test AUROC of an own PyG model after one pass: 0\.\d+"),
}


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_example(name, tmp_path):
    args, promise = PROMISES[name]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:`torch.jit:DeprecationWarning", str(FOLDER / name), *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(promise, done.stdout), done.stdout
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_all_examples_are_run_and_short():
    files = list(FOLDER.glob("*.py"))
    assert {path.name for path in files} == set(PROMISES)
    assert all(len(path.read_text().splitlines()) < 100 for path in files)
