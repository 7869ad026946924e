"""What every benchmark shares: timing, the machine in each row, and where the rows go."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torch-geometric", "pytorch-frame", "duckdb", "pyarrow", "pandas", "relbench", "lightgbm")


def synchronize(device: torch.device | str) -> None:
    """Waits until the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def times_ms(
    step: Callable[[], object], device: torch.device | str = "cpu", *, warmup: int = 5, repeats: int = 20
) -> list[float]:
    """Milliseconds of each of ``repeats`` calls of ``step``, after ``warmup`` calls that do not count."""
    return interleaved_ms({"step": step}, device, warmup=warmup, repeats=repeats)["step"]


def interleaved_ms(
    steps: dict[str, Callable[[], object]], device: torch.device | str = "cpu", *, warmup: int = 5, repeats: int = 20
) -> dict[str, list[float]]:
    """Like `times_ms` for several steps in turn, so that a busy moment of the machine hits all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(warmup + repeats):
        for name, step in steps.items():
            synchronize(device)
            start = time.perf_counter()
            step()
            synchronize(device)
            if turn >= warmup:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def summary(times: list[float]) -> dict[str, float]:
    """Median, spread and number of measured times."""
    low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return {"median_ms": round(middle, 4), "iqr_ms": round(high - low, 4), "repeats": len(times)}


def versions(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The machine and the versions of what was measured."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    machine: dict[str, object] = {"cpu": _cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.device(device).type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    machine["load"] = round(os.getloadavg()[0], 2)
    return {"machine": machine, "versions": found, "date": time.strftime("%Y-%m-%d", time.gmtime())}


def emit(row: dict[str, Any], name: str | None) -> None:
    """Prints ``row`` as one line of JSON; with a name also appends it to ``benchmarks/results/NAME.jsonl``."""
    line = json.dumps(row, ensure_ascii=False)
    print(line, flush=True)
    if name is not None:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


SEAL_HOPS = {"USAir": 2, "NS": 2, "PB": 2, "Yeast": 2, "Celegans": 2, "Power": 3}
"""The networks without attributes that SEAL and WalkPool are compared on, and how far their subgraphs reach."""


def seal_links(folder: Path, name: str, split: int) -> tuple[int, dict[str, torch.Tensor]]:
    """Number of nodes of a network, and the links of one of its published splits, each ``[2, L]``."""
    from scipy.io import loadmat

    num_nodes = loadmat(folder / f"{name}.mat")["net"].shape[0]
    found = loadmat(folder / "splits" / f"{name}_split_{split}.mat")
    keys = ("train_pos", "train_neg", "test_pos", "test_neg")
    links = {key: torch.from_numpy(found[key].astype("int64")).t().contiguous() - 1 for key in keys}  # counted from 1
    return num_nodes, links
