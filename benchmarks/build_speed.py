"""How long from tables to a graph, and how many times faster than pandas?    python benchmarks/build_speed.py"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import emit, interleaved_ms, summary, times_ms, versions
from torch_geometric.utils import sort_edge_index

import graphlearn as gl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--children", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-store", action="store_true")
    args = parser.parse_args()
    if args.tiny:
        args.children, args.repeats, args.no_store = 10_000, 1, True
    name = None if args.no_store else "build_speed"
    source = data / "relbench" / "rel-f1"
    times = times_ms(lambda: gl.build_graph(gl.connect(source), fit_until="2005-01-01"), warmup=1, repeats=args.repeats)
    emit({"case": "rel-f1 folder to graph", **summary(times), **versions()}, name)
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), args.children)
        steps = {"ours": lambda: ours(Path(folder)), "pandas": lambda: by_pandas(Path(folder))}
        found = interleaved_ms(steps, warmup=0, repeats=args.repeats)
    row = {side: summary(values) for side, values in found.items()}
    ratio = row["pandas"]["median_ms"] / row["ours"]["median_ms"]
    emit({"case": "child rows to CSR", "children": args.children, **row, "ratio": round(ratio, 2), **versions()}, name)


def write_tables(folder: Path, children: int) -> None:
    """A tenth as many parents as children, with shuffled sparse keys, and children at random times."""
    generator = np.random.default_rng(0)
    keys = generator.permutation(children).astype(np.int64)[: children // 10] * 7919
    pq.write_table(pa.table({"parent_id": keys}), folder / "parent.parquet")
    time = generator.integers(0, 10**15, children).astype("datetime64[us]")
    columns = {"child_id": np.arange(children), "parent_id": generator.choice(keys, children), "time": time}
    pq.write_table(pa.table(columns), folder / "child.parquet")


def ours(folder: Path) -> object:
    """Tables to nodes in time order, both directions of the key, and the rows' times; the schema is given."""
    key = gl.schema.ForeignKey(("parent_id",), "parent")
    tables = {
        "parent": gl.schema.Table("parent", ("parent_id",)),
        "child": gl.schema.Table("child", ("child_id",), (key,), "time"),
    }
    db = gl.connect(folder, schema=gl.schema.Schema("big", tables))
    return gl.build_graph(db, edge_index=False, hidden=[])


def by_pandas(folder: Path) -> object:
    """The way of the reference code: keys remapped by a merge, edges of both directions sorted; no time order."""
    parent, child = (pd.read_parquet(folder / f"{table}.parquet") for table in ("parent", "child"))
    remap = pd.DataFrame({"parent_id": parent["parent_id"], "node": np.arange(len(parent))})
    node = child[["parent_id"]].merge(remap, on="parent_id", how="left")["node"].to_numpy()
    edge_index = torch.stack([torch.arange(len(child)), torch.from_numpy(node.astype(np.int64))])
    return sort_edge_index(edge_index), sort_edge_index(edge_index.flip(0))


if __name__ == "__main__":
    main()
