"""What may be named as a source, and what is said about everything else."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from graphlearn.database import open_source, redact
from graphlearn.errors import SourceError, UsageError


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://ann:secret@127.0.0.1:1/shop", "cannot be opened: .*refused"),
        ("mysql://ann:sec@re/t@host/shop", "write an '@' in the password as %40, and a '/' as %2F"),
        ("s3://bucket/x", "no scheme 's3'. Known: mariadb, mysql, postgres, postgresql, sqlite"),
    ],
)
def test_urls_that_cannot_be_opened_are_shown_without_their_password(url, says):
    with pytest.raises(UsageError, match=says) as caught:
        open_source(url)
    assert "sec" not in str(caught.value)
    assert "re/t" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:pw@host:5432/shop", "postgresql://ann:***@host:5432/shop"),
        ("mysql://ann:p@w/x@host/shop", "mysql://ann:***@host/shop"),
        ("postgresql://ann@host/shop", "postgresql://ann@host/shop"),
        ("postgresql://host/shop?user=ann&password=pw&x=1", "postgresql://host/shop?user=ann&password=***&x=1"),
        ("/data/shop.duckdb", "/data/shop.duckdb"),
    ],
)
def test_redact(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("nothing.duckdb", "no file or folder 'nothing.duckdb'. In that place there is: here.txt"),
        ("nowhere/x.parquet", "no file or folder 'nowhere/x.parquet'. Neither does the folder 'nowhere' exist"),
        ("here.txt", "'here.txt' is neither a DuckDB file nor Parquet or CSV, by its name and first bytes"),
        ("  ", "the source is empty"),
        (3, "a source is .*; got a int"),
        (None, "a source is .*; got a NoneType"),
    ],
)
def test_what_is_not_there_or_no_source(tmp_path, monkeypatch, source, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("hello")
    with pytest.raises(SourceError, match=text):
        open_source(source)


def test_an_sqlite_file_is_no_duckdb_file(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as con:
        con.execute("CREATE TABLE t (x)")
    con.close()
    with pytest.raises(SourceError, match=r"shop.db' is neither a DuckDB file nor Parquet or CSV"):
        open_source(tmp_path / "shop.db")


@pytest.mark.parametrize("name", ["rel-f1", "stanford-star/relbench-v1/rel-f1"])
def test_a_name_on_the_hub_is_downloaded_by_relbench(monkeypatch, rel_f1, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr("relbench.hf.download_dataset_dir", lambda spec: asked.append(spec) or rel_f1)
    source = open_source(name)
    assert asked == [name]
    assert source.folder == rel_f1


def test_without_a_network_the_hub_gives_a_sentence(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def offline(spec):
        raise OSError("no route to host")

    monkeypatch.setattr("relbench.hf.download_dataset_dir", offline)
    text = (
        r"no file or folder 'rel-f1', and it could not be had from the Hugging Face Hub \(OSError: no route to host\)"
    )
    with pytest.raises(SourceError, match=text):
        open_source("rel-f1")


def test_a_repository_without_a_dataset(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("relbench.hf.download_dataset_dir", lambda spec: tmp_path)
    with pytest.raises(SourceError, match="the Hub has no RelBench dataset of that name"):
        open_source("org/repo")


def test_a_path_with_a_slip_of_the_pen_is_not_asked_of_the_hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("relbench.hf.download_dataset_dir", lambda spec: pytest.fail("asked the Hub"))
    for source in ("data/shop", "./shop", "shop", "data/x.parquet", Path("a/b")):
        with pytest.raises(SourceError, match="no file or folder"):
            open_source(source)


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "t.parquet")
    assert open_source("~/t.parquet").num_rows("t") == 1


def test_limits_reach_duckdb_and_what_spills_is_gone_after_close(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    source = open_source({"t": pd.DataFrame({"x": range(10)})}, memory_limit="40MB", threads=1)
    threads, folder = source.rows("SELECT current_setting('threads'), current_setting('temp_directory')")[0]
    assert (threads, os.path.dirname(folder)) == (1, str(tmp_path))
    # A million and a half texts of 32 characters, sorted, do not fit into 40 MB.
    cursor = source.con.cursor()
    cursor.execute("CREATE TEMP TABLE m AS SELECT md5(range::VARCHAR) AS m FROM range(1_500_000) ORDER BY m").fetchall()
    assert cursor.execute("SELECT count(*) FROM m").fetchall() == [(1_500_000,)]
    assert list(tmp_path.iterdir()) == [Path(folder)]
    cursor.close()
    source.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"threads": 0}, "'threads' must be at least 1, got 0"),
        ({"memory_limit": "much"}, "'memory_limit' 'much' is not a size: .*Write it as '4GB'"),
    ],
)
def test_limits_that_make_no_sense(limits, text):
    with pytest.raises(UsageError, match=text):
        open_source({"t": pd.DataFrame({"x": [1]})}, **limits)
