"""Draws docs/precision_frontier.png: size and accuracy of fixed networks and of searched ones.

    python docs/precision_frontier.py

Reads benchmarks/results/lpgnas.jsonl, and takes means over the seeds that all networks of a data set have.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "lpgnas.jsonl"
COLORS = {"GCN": "tab:blue", "GAT": "tab:orange", "SAGE": "tab:green", "LPGNAS": "black"}
MARKS = {"float32": "s", "W8A8": "^", "W4A8": "o", "W4A4": "v"}


def points() -> dict[str, dict[str, tuple[float, float, float]]]:
    """Mean bytes, mean accuracy and its standard deviation of each network, by data set."""
    rows: dict[str, dict[str, dict[int, dict]]] = {}
    for line in RESULTS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "seed" in row:  # the last one of a seed counts
            rows.setdefault(row["data"], {}).setdefault(row["network"], {})[row["seed"]] = row
    found = {}
    for data, networks in rows.items():
        shared = set.intersection(*(set(seeds) for seeds in networks.values()))
        found[data] = {}
        for name, seeds in networks.items() if shared else ():
            accuracies = [seeds[seed]["accuracy"] for seed in sorted(shared)]
            size = statistics.mean(seeds[seed]["bytes"] for seed in shared)
            found[data][name] = size, statistics.mean(accuracies), statistics.pstdev(accuracies)
    return found


def main() -> None:
    found = points()
    figure, axes = plt.subplots(1, len(found), figsize=(6.5 * len(found), 4.2), squeeze=False)
    for axis, (data, networks) in zip(axes[0], found.items(), strict=True):
        for name, (size, accuracy, spread) in networks.items():
            kind, way = name.split()
            mark = MARKS.get(way, "*")
            axis.errorbar(
                size / 1024,
                accuracy,
                spread,
                fmt=mark,
                color=COLORS[kind],
                markersize=14 if mark == "*" else 7,
                elinewidth=0.6,
                alpha=0.9,
                label=name if mark != "*" else f"LPGNAS, size_weight {way}",
            )
        axis.set_xscale("log")
        axis.set_xlabel("stored KiB (weights, scales, biases)")
        axis.set_ylabel("test accuracy, %")
        axis.set_title(f"{data}, 60/20/20 at random")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, ncol=2)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "precision_frontier.png", dpi=110)


if __name__ == "__main__":
    main()
