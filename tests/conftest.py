"""Fixtures that all tests share: the real data, SQL servers, and a small shop."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is loaded. Waiting as the command line does, because tests share the machine with others. One thread,
# because the fixtures of a module and its tests must compute alike to the last bit, and tiny batches gain nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from graphlearn.database.url import engine, parse_url, reason
from graphlearn.schema import Database, connect

ROOT = Path(__file__).resolve().parent.parent
SERVERS = {
    "postgresql": ("GRAPHLEARN_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": ("GRAPHLEARN_TEST_MARIADB", "mysql://root@127.0.0.1:3306/test"),
}
"""The variable that names a server to test with, and where it is looked for without one."""


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: ``$GRAPHLEARN_TEST_DATA``, or ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        reason = f"no test data in {folder}: set GRAPHLEARN_TEST_DATA to the folder that holds relbench/, rel-f1/, sql/"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def rel_f1(data_dir: Path) -> Path:
    """The RelBench 3 folder of rel-f1."""
    return data_dir / "relbench" / "rel-f1"


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[str], str]]:
    """Makes an empty database on the server ``postgresql`` or ``mariadb`` and gives its URL; dropped at the end."""
    made: list[tuple[str, str]] = []

    def make(server: str) -> str:
        variable, default = SERVERS[server]
        url = os.environ.get(variable, default)
        name = f"graphlearn_test_{uuid.uuid4().hex[:12]}"
        try:
            administer(url, f"CREATE DATABASE {name}")
        except sa.exc.OperationalError as error:
            why = f"no {server} server to test with: {reason(error)}; set {variable} to a URL that may create databases"
            if os.environ.get("CI"):
                pytest.fail(why)
            pytest.skip(why)  # on a user's machine only: who changes a layer need not run two servers
        made.append((url, name))
        return sa.make_url(url).set(database=name).render_as_string(hide_password=False)

    yield make
    for url, name in made:
        force = " WITH (FORCE)" if "postgres" in url.partition(":")[0] else ""
        administer(url, f"DROP DATABASE {name}{force}")


def administer(url: str, statement: str) -> None:
    """Runs a statement that belongs to no transaction."""
    with engine(parse_url(url)).connect() as con:
        con.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text(statement))


@pytest.fixture
def shop_frames() -> dict[str, pd.DataFrame]:
    """A shop: 60 customers, 20 products, 400 orders in two years, and their items."""
    return make_shop()


@pytest.fixture
def shop(shop_frames: dict[str, pd.DataFrame]) -> Database:
    """The shop as a database, its schema inferred."""
    return connect(shop_frames)


def make_shop(seed: int = 0) -> dict[str, pd.DataFrame]:
    """The tables of the shop; the same seed gives the same tables."""
    rng = np.random.default_rng(seed)
    day = pd.Timedelta(days=1)
    start = pd.Timestamp("2021-01-01")
    customers = pd.DataFrame(
        {
            "id": np.arange(1, 61),
            "name": [f"Customer number {i} of the shop" for i in range(60)],
            "country": rng.choice(["DE", "FR", "US"], 60),
            "birth_date": start - rng.integers(7_000, 25_000, 60) * day,
            "signup_date": start + rng.integers(0, 300, 60) * day,
        }
    )
    products = pd.DataFrame(
        {
            "product_id": [f"P-{i:03d}" for i in range(20)],
            "category": rng.choice(["toys", "books", "food"], 20),
            "price": np.round(rng.lognormal(2.0, 0.7, 20), 2),
            "tags": ["|".join(rng.permutation(["new", "green", "large", "soft"])[: 1 + i % 3]) for i in range(20)],
        }
    )
    customer = rng.integers(0, 60, 400)
    created = customers["signup_date"].to_numpy()[customer] + rng.integers(0, 400 * 1440, 400).astype("timedelta64[m]")
    orders = pd.DataFrame(
        {
            "order_id": np.arange(1000, 1400),
            "customer_id": customer + 1,
            "created_at": created,
            "status": rng.choice(["paid", "open", "returned"], 400, p=[0.7, 0.2, 0.1]),
            "discount": np.where(rng.random(400) < 0.2, np.nan, np.round(rng.random(400), 3)),
        }
    )
    counts = rng.integers(1, 4, 400)
    line = np.concatenate([np.arange(1, n + 1) for n in counts])
    items = pd.DataFrame(
        {
            "order_id": np.repeat(orders["order_id"].to_numpy(), counts),
            "line": line,
            "product_id": products["product_id"].to_numpy()[rng.integers(0, 20, len(line))],
            "quantity": rng.integers(1, 30, len(line)),
        }
    )
    return {"customers": customers, "products": products, "orders": orders, "order_items": items}
