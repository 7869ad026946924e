"""How long from tables to a graph, and how many times faster than with pandas?    python benchmarks/build_speed.py

*rel-f1*: the folder, opened, its statistics fitted, all features encoded.

*10M child rows*: two Parquet files, 1M parents with shuffled sparse int64 keys and 10M children that name one each, at
random microseconds; no column is a feature. Four ways in turn, all of which read the files:

- *ours*: `connect` (the schema is given) and `build_graph`: keys found to be unique, children in the order of time, the
  parent of each child, the children of each parent as CSR sorted by time, the times as int64 microseconds;
- *pandas*: as RelBench 3 does it: keys found to be unique, children matched with a merge (`byod/reindex_dataset.py`),
  both directions sorted with PyG's `sort_edge_index`, times as unix seconds (`make_pkey_fkey_graph`). No order of time,
  no CSR: the sampler's job, later;
- *pandas by time*: the same after sorting the children by time, as RelBench does with tables that have a key; each list
  then is in the order of time, which is what a sampler for times needs, but still no CSR;
- *read*: DuckDB reads the two columns of the children into Arrow, and nothing else: what no way can beat.

`peak_mib` is what each way adds to the memory of a fresh process, at most.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import emit, interleaved_ms, summary, times_ms, versions
from relbench.modeling.utils import to_unix_time
from torch import Tensor
from torch_geometric.utils import sort_edge_index

from graphlearn.graph import build_graph
from graphlearn.schema import Schema, connect
from graphlearn.schema.schema import Column, ForeignKey, Table

SCHEMA = Schema(
    "two tables",
    {
        "parent": Table("parent", ("id",), columns=(Column("id"),)),
        "child": Table(
            "child", (), (ForeignKey(("parent_id",), "parent"),), "time", columns=(Column("parent_id"), Column("time"))
        ),
    },
)


def write_tables(folder: Path, num_children: int) -> None:
    """A tenth as many parents as children."""
    rng = np.random.default_rng(0)
    num_parents = max(1, num_children // 10)
    keys = np.unique(rng.integers(1, 2**53, num_parents + num_parents // 1000 + 10))
    rng.shuffle(keys)
    keys = keys[:num_parents]
    time = rng.integers(1_500_000_000_000_000, 1_700_000_000_000_000, num_children).astype("datetime64[us]")
    pq.write_table(pa.table({"id": keys}), folder / "parent.parquet")
    columns = {"parent_id": keys[rng.integers(0, num_parents, num_children)], "time": time}
    pq.write_table(pa.table(columns), folder / "child.parquet")


def ours(folder: Path) -> object:
    db = connect(folder, schema=SCHEMA)
    graph = build_graph(db, edge_index=False)
    db.close()
    return graph


def by_pandas(folder: Path, *, in_time: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    parent, child = (pd.read_parquet(folder / f"{table}.parquet") for table in ("parent", "child"))
    if in_time:
        child = child.sort_values("time", kind="stable").reset_index(drop=True)
    keys = parent["id"]
    if keys.isna().any() or keys.duplicated().any():
        raise ValueError("the keys are not unique")
    number = pd.Series(pd.RangeIndex(len(keys)).astype("Int64"), index=pd.Index(keys), name="number")
    named = pd.merge(child["parent_id"], number, how="left", left_on="parent_id", right_index=True)["number"]
    there = ~named.isna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the array is not writable
        parents = torch.from_numpy(named[there].astype(int).values)
    children = torch.arange(len(named))[torch.from_numpy(there.values)]
    edges = sort_edge_index(torch.stack([children, parents])), sort_edge_index(torch.stack([parents, children]))
    return *edges, torch.from_numpy(to_unix_time(child["time"]))


def read(folder: Path) -> int:
    con = duckdb.connect()
    con.execute("SET preserve_insertion_order = false")
    sql = f"SELECT parent_id, epoch_us(time) FROM '{folder / 'child.parquet'}'"
    return sum(batch.num_rows for batch in con.sql(sql).to_arrow_reader(32_768))


WAYS: dict[str, Callable[[Path], object]] = {
    "ours": ours,
    "pandas": by_pandas,
    "pandas by time": lambda folder: by_pandas(folder, in_time=True),
    "read": read,
}


def peak_mib(way: str, folder: Path) -> int | None:
    """What a way adds to the memory of a fresh process, at most; None where that is not known."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, __file__, "--peak", way, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(json.loads(done.stdout))


def print_peak(way: str, folder: Path, small: Path) -> None:
    WAYS[way](small)  # what libraries set up when they are first used does not count
    before = mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the peak so far
    WAYS[way](folder)
    print(mib("VmHWM") - before)


def mib(what: str) -> float:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=data, help="the folder that holds relbench/rel-f1")
    parser.add_argument("--children", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--tiny", action="store_true", help="few rows, once; stores nothing")
    parser.add_argument("--no-store", action="store_true", help="prints the rows, stores nothing")
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tiny:
        args.children, args.repeats = 10_000, 1
    name = None if args.tiny or args.no_store else "build_speed"

    with tempfile.TemporaryDirectory() as temporary:
        if args.peak:
            write_tables(Path(temporary), 1_000)
            print_peak(args.peak[0], Path(args.peak[1]), Path(temporary))
            return
        folder = args.data / "relbench" / "rel-f1"
        if folder.is_dir():
            times = times_ms(
                lambda: build_graph(connect(folder), fit_until="2005-01-01"), repeats=args.repeats, warmup=1
            )
            emit({"case": "rel-f1 folder to graph", "rows": 97_606, **summary(times), **versions()}, name)
        write_tables(Path(temporary), args.children)
        steps = {way: lambda run=run: run(Path(temporary)) for way, run in WAYS.items()}  # type: ignore[misc]
        taken = interleaved_ms(steps, warmup=1, repeats=args.repeats)
        row: dict[str, object] = {"case": "child rows to CSR by time", "children": args.children}
        for way, times in taken.items():
            rows_per_s = round(args.children / statistics.median(times) * 1e3)
            row[way] = {**summary(times), "rows_per_s": rows_per_s, "peak_mib": peak_mib(way, Path(temporary))}
        for way in ("pandas", "pandas by time"):
            row[f"{way}/ours"] = round(statistics.median(taken[way]) / statistics.median(taken["ours"]), 2)
        emit({**row, **versions()}, name)


if __name__ == "__main__":
    main()
