"""How long does the demo take, and how close to the best reachable AUROC does it come?    python benchmarks/demo.py"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from common import emit, versions

import graphlearn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--customers", type=int, default=4000)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-store", action="store_true")
    args = parser.parse_args()
    if args.tiny:
        args.seeds, args.customers, args.no_store = 1, 300, True
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "demo"
            words = ["demo", "--out", out, "--seed", seed, "--customers", args.customers]
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "graphlearn", *map(str, words)], check=True, capture_output=True)
            seconds = time.perf_counter() - started
            table = graphlearn.load(out / "churn").compare("test")
            scores = dict(zip(table["model"], table["auroc"].round(4), strict=True))
            best = generator().best_auroc(seed=seed, customers=args.customers)["test"]
        row = {"case": "demo", "seed": seed, "customers": args.customers, "seconds": round(seconds, 1)}
        row |= {"best": round(best, 4), "gnn": scores["this run"], "gap": round(best - scores["this run"], 4)}
        row |= {"above_lightgbm": round(scores["this run"] - scores["lightgbm, entity's columns"], 4), "all": scores}
        emit({**row, **versions()}, None if args.no_store else "demo")


def generator() -> ModuleType:
    """The shop's generator, loaded by path."""
    path = Path(__file__).parents[1] / "datasets" / "shop" / "generate.py"
    spec = importlib.util.spec_from_file_location("graphlearn_shop", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
