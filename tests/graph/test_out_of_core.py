"""A database larger than the memory that DuckDB may use becomes a graph in little more room than the graph takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from graphlearn.errors import GraphLearnError, SourceError
from graphlearn.graph import build_graph
from graphlearn.schema import Schema, connect
from graphlearn.schema.schema import Column, Table

ROWS = 700_000
LIMIT = 100  # MiB that DuckDB may use
BESIDE = 200  # MiB that libraries, batches and a few columns may take

BUILD = """
import json, re, sys
from pathlib import Path

import pandas, pyarrow, torch
from graphlearn.graph import build_graph, fit_statistics
from graphlearn.schema import Schema, connect
from graphlearn.schema.schema import Column, ForeignKey, Table

def mib(what):
    return int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

def never(*args, **kwargs):
    raise AssertionError("rows went through pandas")

stypes = {"x": "numerical", "y": "numerical", "kind": "categorical", "note": "text"}
names = ["id", "parent", "at", *stypes, "unused"]
schema = Schema("large", {
    "parents": Table("parents", ("id",), columns=(Column("id"),)),
    "rows": Table("rows", ("id",), (ForeignKey(("parent",), "parents"),), "at",
                  columns=tuple(Column(name, stype=stypes.get(name)) for name in names)),
})
build_graph(connect({"t": pyarrow.table({"id": range(9), "x": range(9)})}))  # what libraries set up when first used
db = connect(sys.argv[1], schema=schema, memory_limit=sys.argv[2] + "MiB", threads=2)
pandas.DataFrame.__init__ = pandas.Series.__init__ = never
before = mib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
statistics = fit_statistics(db, fit_until=10**15, text_dim=8)
fitted = mib("VmHWM") - before
graph = build_graph(db, statistics=statistics, edge_index=False)
store = graph["rows"]
values = [store.time, *store.tf.feat_dict.values(), *(v for edges in graph.edge_stores for v in edges.values())]
values = [v if isinstance(v, torch.Tensor) else v.values for v in values]
size = sum(v.numel() * v.element_size() for v in values) + store.pkey.nbytes
print(json.dumps({"rows": store.num_nodes, "edges": len(graph["rows", "parent", "parents"].col),
                  "graph": size / 2**20, "fit": fitted, "build": mib("VmHWM") - before}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux does it")
def test_a_database_larger_than_the_memory_of_duckdb(tmp_path):
    con = duckdb.connect(config={"threads": "2"})
    con.execute(
        f"COPY (SELECT i * 7919 % {ROWS} AS id, i * 31 % 100000 AS parent, "
        f"make_timestamp((hash(i) >> 14)::BIGINT) AS at, hash(i) % 1009 / 7 AS x, i % 1000 AS y, "
        f"'kind ' || i % 50 AS kind, repeat(md5('a' || i), 3) AS note, repeat(md5('b' || i), 9) AS unused "
        f"FROM range({ROWS}) AS r(i)) TO '{tmp_path / 'rows.parquet'}' (ROW_GROUP_SIZE 20480)"
    )
    con.execute(f"COPY (SELECT i AS id FROM range(100000) AS r(i)) TO '{tmp_path / 'parents.parquet'}'")
    source = sum(c.nbytes for c in pq.read_table(tmp_path / "rows.parquet").columns) / 2**20
    assert source > 2 * LIMIT
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(LIMIT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:3_000]
    found = json.loads(done.stdout)
    assert (found["rows"], found["edges"]) == (ROWS, ROWS)
    assert found["fit"] < LIMIT + BESIDE
    assert found["build"] < found["graph"] + LIMIT + BESIDE, found


def test_too_little_memory_is_a_sentence(tmp_path):
    con = duckdb.connect(config={"threads": "1"})
    con.execute(
        f"COPY (SELECT i AS id, repeat(md5(i::VARCHAR), 20) AS note FROM range(60000) AS r(i)) "
        f"TO '{tmp_path}/t.parquet'"
    )
    schema = Schema("t", {"t": Table("t", ("id",), columns=(Column("id"), Column("note", stype="text")))})
    db = connect(tmp_path, schema=schema, memory_limit="20MB", threads=1)
    with pytest.raises(
        GraphLearnError, match=r"^DuckDB has not enough memory to read .*: .* Give connect\(\) a larger mem"
    ):
        build_graph(db)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("damaged", [1_000, 1_000_000, 4_000_000])
def test_a_file_that_breaks_off_is_a_sentence(damaged, threads, tmp_path):
    con = duckdb.connect()
    con.execute(f"COPY (SELECT i AS id, hash(i) AS x FROM range(600000) AS r(i)) TO '{tmp_path}/t.parquet'")
    schema = Schema("t", {"t": Table("t", columns=(Column("id"), Column("x")))})
    db = connect(tmp_path, schema=schema, threads=threads)
    file = tmp_path / "t.parquet"
    content = bytearray(file.read_bytes())
    content[damaged : damaged + 200_000] = bytes(200_000)
    file.write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot be read: .*\. Check that its files are whole"):
        build_graph(db)
    assert db.rows("SELECT current_setting('preserve_insertion_order')") == [(True,)]
