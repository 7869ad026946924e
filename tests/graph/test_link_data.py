"""Readers of graphs whose links are predicted: published datasets, files of edges, tables of a database."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy.io import savemat
from torch_geometric.utils import is_undirected

from graphlearn.errors import SourceError, UnknownNameError, UsageError
from graphlearn.graph import ogb
from graphlearn.graph.link_data import check_given, is_dataset, read_dataset, read_mat
from graphlearn.graph.link_tables import read_edge_list, read_tables
from graphlearn.graph.ogb import evaluator
from graphlearn.schema import connect


@pytest.mark.parametrize(
    ("name", "folder", "nodes", "edges", "features"),
    [
        ("Cora", "planetoid", 2708, 10556, 1433),
        ("citeseer", "planetoid", 3327, 9104, 3703),
        ("Photo", "npz", 7650, 238162, 745),
        ("CS", "npz", 18333, 163788, 6805),
    ],
)
def test_published_datasets_have_their_size(data_dir, name, folder, nodes, edges, features):
    before = sorted((data_dir / folder).rglob("*"))
    data = read_dataset(name, data_dir / folder)
    assert (data.num_nodes, data.edge_index.size(1)) == (nodes, edges)
    assert data.x.shape == (nodes, features)
    assert data.x.dtype == torch.float32
    assert is_undirected(data.edge_index)
    assert sorted((data_dir / folder).rglob("*")) == before  # nothing was written
    assert is_dataset(name)


@pytest.mark.parametrize(("name", "nodes", "links"), [("USAir", 332, 2126), ("Power", 4941, 6594)])
def test_seal_networks_and_their_splits(data_dir, name, nodes, links):
    data = read_mat(data_dir / "seal" / f"{name}.mat", data_dir / "seal" / "splits" / f"{name}_split_1.mat")
    assert data.num_nodes == nodes
    assert data.edge_index.size(1) == 2 * links
    assert data.x is None
    known = {frozenset(e) for e in data.edge_index.t().tolist()}
    train, test = ({frozenset(p) for p in data.given[part].t().tolist()} for part in ("train", "test"))
    assert train | test == known
    assert not train & test
    for part in ("train_neg", "test_neg"):
        assert not {frozenset(p) for p in data.given[part].t().tolist()} & known
    check_given(data)


def test_a_mat_file_that_is_none(tmp_path):
    net = sp.csc_matrix(np.array([[0, 1], [1, 0]]))
    savemat(tmp_path / "a.mat", {"net": net})
    assert read_mat(tmp_path / "a.mat").given == {}
    with pytest.raises(UsageError, match="a has no published split: take --split random, temporal or new-node"):
        check_given(read_mat(tmp_path / "a.mat"))
    with pytest.raises(SourceError, match=r"there is no file .*b.mat. Name a .mat file"):
        read_mat(tmp_path / "b.mat")
    savemat(tmp_path / "c.mat", {"other": net})
    with pytest.raises(SourceError, match=r"c.mat has no 'net', it holds: other\."):
        read_mat(tmp_path / "c.mat")
    savemat(tmp_path / "d.mat", {"net": np.zeros((2, 3))})
    with pytest.raises(SourceError, match=r"d.mat: 'net' must be a square sparse matrix, got ndarray \(2, 3\)"):
        read_mat(tmp_path / "d.mat")
    (tmp_path / "e.mat").write_text("no matrix in here at all")
    with pytest.raises(SourceError, match=r"e.mat cannot be read as a .mat file: "):
        read_mat(tmp_path / "e.mat")
    pairs = {key: np.array([[1, 2]]) for key in ("train_pos", "train_neg", "test_pos")} | {"test_neg": [[1, 3]]}
    savemat(tmp_path / "f.mat", pairs)
    with pytest.raises(SourceError, match=r"f.mat: 'test_neg' must hold pairs of the 2 nodes of a.mat, from 1 on"):
        read_mat(tmp_path / "a.mat", tmp_path / "f.mat")


def test_a_dataset_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match=r"Cora is not in .*ind.cora.graph. Nothing is downloaded here; with"):
        read_dataset("Cora", tmp_path)
    with pytest.raises(SourceError, match=r"Physics is not in .*Coauthor\('.*', 'Physics'\) does it. --root names"):
        read_dataset("Physics", tmp_path)
    with pytest.raises(SourceError, match=r"ogbl-collab is not in .*edge.csv.gz and RELEASE_v1.txt .*LinkPropPred"):
        read_dataset("ogbl-collab", tmp_path)
    with pytest.raises(UnknownNameError, match=r"no dataset 'Coora'. Did you mean 'Cora'"):
        read_dataset("Coora", tmp_path)
    with pytest.raises(UnknownNameError, match=r"no OGB dataset of links 'ogbl-colab'. Did you mean 'ogbl-collab'"):
        read_dataset("ogbl-colab", tmp_path)
    with pytest.raises(SourceError, match="ogbl-biokg has links of many kinds"):
        evaluator("ogbl-biokg")
    raw = tmp_path / "Photo" / "raw"
    raw.mkdir(parents=True)
    (raw / "amazon_electronics_photo.npz").write_text("nothing")
    with pytest.raises(SourceError, match=r"raw cannot be read as Photo: .*Download it again"):
        read_dataset("Photo", tmp_path)


def test_ogb_is_asked_for_where_it_is_missing(monkeypatch):
    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(ogb.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"this needs the package ogb: pip install 'graphlearn\[ogb\]'"):
        evaluator("ogbl-ddi")


def ogb_folder(root: Path, name: str, split: str, extra: dict[str, np.ndarray], parts: dict[str, dict]) -> Path:
    """A dataset of five nodes on a path, laid out as OGB's downloads are."""
    folder = root / name.replace("-", "_")
    for part in ("raw", f"split/{split}"):
        (folder / part).mkdir(parents=True)
    (folder / "RELEASE_v1.txt").touch()
    tables = {
        "edge": [[0, 1], [1, 2], [2, 3]],
        "num-node-list": [[5]],
        "num-edge-list": [[3]],
        "node-feat": np.arange(10).reshape(5, 2) / 2,
        **extra,
    }
    for table, rows in tables.items():
        with gzip.open(folder / "raw" / f"{table}.csv.gz", "wt") as file:
            pd.DataFrame(rows).to_csv(file, header=False, index=False)
    for part, values in parts.items():
        torch.save(values, folder / "split" / split / f"{part}.pt")
    return root


def test_ogbs_edges_with_shared_negatives(tmp_path):
    parts = {
        "train": {"edge": np.array([[0, 1], [1, 1]]), "weight": np.array([1, 2]), "year": np.array([2000, 2001])},
        "valid": {"edge": np.array([[1, 2]]), "edge_neg": np.array([[0, 2], [0, 3]])},
        "test": {"edge": torch.tensor([[2, 3]]), "edge_neg": torch.tensor([[0, 4], [1, 4]])},
    }
    extra = {"edge_weight": [[1], [1], [1]], "edge_year": [[2000], [2001], [2002]]}
    data = read_dataset("ogbl-collab", ogb_folder(tmp_path, "ogbl-collab", "time", extra, parts))
    assert data.num_nodes == 5
    assert data.metric == "hits@50"
    assert data.x[4].tolist() == [4.0, 4.5]
    given = {part: pairs.tolist() for part, pairs in data.given.items()}
    assert given == {
        "train": [[0], [1]],
        "val": [[1], [2]],
        "val_neg": [[0, 0], [2, 3]],
        "test": [[2], [3]],
        "test_neg": [[0, 1], [4, 4]],
    }
    assert data.notes == ("1 training links join a node with itself: left out",)
    assert not (tmp_path / "ogbl_collab" / "processed").exists()


def test_ogbs_negatives_of_each_link(tmp_path):
    def part(*negatives: list[int]) -> dict[str, np.ndarray]:
        found = {"source_node": np.array([0, 1]), "target_node": np.array([1, 2])}
        return found | ({"target_node_neg": np.array(negatives)} if negatives else {})

    parts = {"train": part(), "valid": part([2, 3, 4], [0, 3, 4]), "test": part([3, 2, 4], [4, 0, 3])}
    root = ogb_folder(tmp_path, "ogbl-citation2", "time", {"node_year": [[1]] * 5}, parts)
    data = read_dataset("ogbl-citation2", root)
    assert data.given["test_neg"].tolist() == [[[0, 0, 0], [1, 1, 1]], [[3, 2, 4], [4, 0, 3]]]
    assert data.metric == "mrr"


def test_nothing_but_numbers_is_read(tmp_path):
    parts = {name: {"edge": Path("anything")} for name in ("train", "valid", "test")}
    root = ogb_folder(tmp_path, "ogbl-ddi", "target", {}, parts)
    with pytest.raises(SourceError, match=r"ogbl_ddi cannot be read as ogbl-ddi: .*Download it again"):
        read_dataset("ogbl-ddi", root)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "parquet"])
def test_edges_of_a_file(tmp_path, suffix):
    path = tmp_path / f"calls.{suffix}"
    frame = pd.DataFrame({"caller": [30, 4, 200, 4], "called": [4, 200, 30, 30], "time": [5, 6, 7, 8]})
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep={"csv": ",", "tsv": "\t", "txt": " "}[suffix])
    data = read_edge_list(path)
    assert data.names == (4, 30, 200)
    assert data.edge_index.tolist() == [[1, 0, 2, 0], [0, 2, 1, 1]]
    assert data.time.tolist() == [5, 6, 7, 8]
    assert (data.num_nodes, data.num_src, data.x, data.name) == (3, None, None, "calls")


def test_edges_without_header_with_names_dates_and_gaps(tmp_path):
    (tmp_path / "plain.txt").write_text("0 1\n1 2\n5 0\n")
    assert read_edge_list(tmp_path / "plain.txt").edge_index.tolist() == [[0, 1, 3], [1, 2, 0]]
    rows = "a,when,b\nx,2024-01-02,7\nx,2024-01-01,y\n,2024-01-01,y\ny,,7\n"
    (tmp_path / "named.csv").write_text(rows)
    data = read_edge_list(tmp_path / "named.csv", "b, a, when")
    assert data.names == ("7", "x", "y")
    assert data.edge_index.tolist() == [[0, 2], [1, 1]]
    assert data.time.tolist() == [1_704_153_600_000_000, 1_704_067_200_000_000]
    assert data.notes == ("2 of 4 rows have an empty end or time: left out",)
    (tmp_path / "mixed.csv").write_text("a,b\n1,x\n2,y\n")
    assert read_edge_list(tmp_path / "mixed.csv").names == ("1", "2", "x", "y")


def test_files_that_are_no_edges(tmp_path):
    path = tmp_path / "one.csv"
    with pytest.raises(SourceError, match=r"there is no file .*one.csv. Name a dataset, a file of edges or a"):
        read_edge_list(path)
    path.write_text("a\n1\n2\n")
    with pytest.raises(SourceError, match=r"one.csv has one column, '.*'; edges need two. What separates them"):
        read_edge_list(path)
    path.write_text("a,b\n1,\n,2\n")
    with pytest.raises(SourceError, match=r"one.csv holds no edge with two ends. Write one a line"):
        read_edge_list(path)
    path.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(UnknownNameError, match=r"no column in one.csv 'd'. Known: a, b, c"):
        read_edge_list(path, "a,d")
    with pytest.raises(UsageError, match=r"--columns must name two or three columns, as in 'src,dst,time', got 'a'"):
        read_edge_list(path, "a")
    (tmp_path / "no.parquet").write_text("nothing")
    with pytest.raises(SourceError, match=r"no.parquet cannot be read as a file of edges: "):
        read_edge_list(tmp_path / "no.parquet")


def shop() -> dict[str, pd.DataFrame]:
    return {
        "users": pd.DataFrame({"user_id": [10, 20, 30], "name": ["a", "b", "c"]}),
        "movies": pd.DataFrame({"movie_id": ["m1", "m2"], "title": ["x", "y"]}),
        "ratings": pd.DataFrame(
            {
                "rating_id": [1, 2, 3, 4, 5],
                "user_id": [20, 10, 10, 20, None],
                "movie_id": ["m2", "m1", "m2", "m9", "m1"],
                "at": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]),
            }
        ),
        "follows": pd.DataFrame({"follow_id": [1, 2], "who": [10, 20], "whom": [30, 30]}),
    }


@pytest.fixture
def database(tmp_path):
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(
        "tables:\n"
        "  users: {pkey: user_id}\n"
        "  movies: {pkey: movie_id}\n"
        "  ratings: {pkey: rating_id, fkeys: {user_id: users, movie_id: movies}, time_col: at}\n"
        "  follows: {pkey: follow_id, fkeys: {who: users, whom: users}}\n"
    )
    db = connect(shop(), schema=manifest)
    yield db
    db.close()


def test_links_of_two_tables(database):
    data = read_tables(database, "ratings(user_id, movie_id)")
    assert (data.num_nodes, data.num_src, data.kinds) == (5, 3, ("users", "movies"))
    assert data.names == (10, 20, 30, "m1", "m2")
    assert data.edge_index.tolist() == [[1, 0, 0], [4, 3, 4]]
    assert pd.to_datetime(data.time, unit="us").day.tolist() == [1, 2, 3]
    assert data.notes == ("2 of 5 rows have a key without a row, or no time: left out",)


def test_links_within_one_table(database):
    data = read_tables(database, " follows ( who , whom ) ")
    assert (data.num_nodes, data.num_src, data.kinds, data.time) == (3, None, ("users",), None)
    assert data.edge_index.tolist() == [[0, 1], [2, 2]]


def test_tables_that_hold_no_links(database):
    with pytest.raises(UsageError, match=r"--edges must read table\(key, key\), as in .*, got 'ratings'"):
        read_tables(database, "ratings")
    with pytest.raises(UnknownNameError, match=r"no foreign key of 'ratings' 'movie'. Did you mean 'movie_id'"):
        read_tables(database, "ratings(user_id, movie)")
    with pytest.raises(UnknownNameError, match=r"no table 'rating'. Did you mean 'ratings'"):
        read_tables(database, "rating(user_id, movie_id)")
