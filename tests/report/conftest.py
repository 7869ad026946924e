"""A run of the little shop, a run whose every name is hostile, and a headless Chromium."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from graphlearn.predict import Run
from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task

if TYPE_CHECKING:
    from chromium import Chromium

sys.path[:0] = [str(Path(__file__).parents[1] / "predict"), str(Path(__file__).parent)]

SCRIPT = "<script>alert('table')</script>"
HOSTILE = ("</style><b>\"x\" & 'y' 😀", "<img src=x onerror=alert(2)>", "-->]]>\u202eabc", SCRIPT)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny batches gain nothing from threads, and the tests of several folders share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The little shop as a RelBench folder."""
    from little_shop import write_relbench

    return write_relbench(tmp_path_factory.mktemp("report") / "shop")


@pytest.fixture(scope="session")
def run(shop: Path) -> Run:
    """A run on it; nobody may change its folder."""
    from little_shop import train_fast

    db = connect(shop)
    return train_fast(db, Task(db, "again"), shop.parent / "run", model="gnn")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Database]:
    """A run on tables, columns, values, classes and a task whose names are markup."""
    from little_shop import labels, make_task, tables, train_fast

    quotes, image, dashes, script = HOSTILE
    frames = tables()
    people = frames["customers"].rename(columns={"city": image, "score": quotes})
    people[image] = people[image].map({"Rome": script, "Oslo": dashes, "Lima": quotes})
    orders = frames["orders"].rename(columns={"kind": dashes})
    orders[dashes] = np.where(orders[dashes] == "phone", image, script)
    schema = Schema(
        "hostile",
        {
            script: Table(
                script,
                pkey=("customer_id",),
                time_col="joined",
                null_time="keep",
                columns=(
                    Column("customer_id"),
                    Column("joined", stype="timestamp"),
                    Column(image, stype="categorical"),
                    Column(quotes, stype="numerical"),
                ),
            ),
            quotes: Table(
                quotes,
                pkey=("order_id",),
                fkeys=(ForeignKey(("customer_id",), script),),
                time_col="placed",
                columns=(
                    Column("order_id"),
                    Column("customer_id"),
                    Column("placed", stype="timestamp"),
                    Column("amount", stype="numerical"),
                    Column(dashes, stype="categorical"),
                ),
            ),
        },
    )
    people = people.drop(columns="nothing")
    db = connect({script: people, quotes: orders}, schema=schema)
    rows = labels(frames, "multiclass_classification")
    rows["y"] = rows["y"].map({"phone": script, "web": quotes, "desk": image, "none": dashes})
    task = make_task(
        db, frames, "multiclass_classification", labels=rows,
        entity_table=script, name="a <b> & 'c'",
    )  # fmt: skip
    return train_fast(db, task, tmp_path_factory.mktemp("hostile") / "run", model="gnn"), db


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The browser that ``$GRAPHLEARN_TEST_CHROMIUM`` names, or the one on the PATH."""
    from chromium import Chromium

    names = (os.environ.get("GRAPHLEARN_TEST_CHROMIUM") or "chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    if binary is None:
        why = "no Chromium to open the report with: install it (Debian: apt-get install chromium), or set "
        why += "GRAPHLEARN_TEST_CHROMIUM to its path"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)  # on a user's machine only: who changes a layer need not install a browser
    with Chromium(binary, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
