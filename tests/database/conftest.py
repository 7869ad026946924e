"""Lets the tests of this folder import their helper `samples`; nothing else is put on the import path."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SERVERS = ("postgresql", "mariadb", "sqlite")


@pytest.fixture(scope="session")
def new_url(new_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Makes an empty database on the server, or an SQLite file, and gives its URL."""

    def make(server: str) -> str:
        if server == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'shop.db'}"
        return new_database(server)

    return make


@pytest.fixture(scope="session")
def sample_url(
    data_dir: Path, new_url: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], str]:
    """The URL of Chinook, Northwind or Sakila on a server; each is loaded once."""
    from samples import load

    urls: dict[tuple[str, str], str] = {}

    def url(server: str, name: str) -> str:
        if (server, name) not in urls:
            if server == "sqlite":
                file = shutil.copy(data_dir / "sql" / f"{name}.sqlite", tmp_path_factory.mktemp(name))
                urls[server, name] = f"sqlite:///{file}"
            else:
                urls[server, name] = new_url(server)
                load(data_dir / "sql" / name, urls[server, name])
        return urls[server, name]

    return url
