"""URLs of servers as users type them, and what is said of wrong ones without their password."""

from __future__ import annotations

import sys

import pytest

from graphlearn.database.url import engine, parse_url, reason, shown
from graphlearn.errors import SourceError, UsageError


@pytest.mark.parametrize(
    ("text", "driver", "looks"),
    [
        ("postgresql://ann:s3cret@host:5433/shop", "postgresql+psycopg", "postgresql://ann:***@host:5433/shop"),
        ("postgres://host/shop?password=s3cret", "postgresql+psycopg", "postgresql://host/shop?password=***"),
        ("postgresql+psycopg2://host/shop", "postgresql+psycopg2", "postgresql://host/shop"),
        ("mysql://ann:s3%40cret@host/shop", "mysql+pymysql", "mysql://ann:***@host/shop"),
        ("mariadb://host/shop", "mariadb+pymysql", "mariadb://host/shop"),
        ("sqlite:///shop.db", "sqlite+pysqlite", "sqlite:///shop.db"),
    ],
)
def test_schemes_get_our_driver_and_are_shown_without_password(text, driver, looks):
    url = parse_url(text)
    assert url.drivername == driver
    assert shown(url) == looks


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "postgresql:/ann:s3cret@host",
            "is not the URL of a database. Write scheme://user:password@host:port/database",
        ),
        ("postgresql://ann:s3@cret@host/shop", "'postgresql://ann:\\*\\*\\*@host/shop' .*: write an '@' in the passw"),
        ("mysql://host:many/shop", "'mysql://host:many/shop' is not the URL of a database"),
        ("mysql://host:70000/shop", "is not the URL of a database: there is no port 70000"),
        (
            "postgresq://ann:s3cret@host/shop",
            "no scheme 'postgresq'. Did you mean 'postgresql'\\? Known: mariadb, mysql",
        ),
    ],
)
def test_what_is_no_url_is_refused_without_its_password(text, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_url(text)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "module", "how"),
    [
        ("postgresql://ann:s3cret@host/shop", "psycopg", r"pip install graphlearn\[postgresql\]"),
        ("mysql://ann:s3cret@host/shop", "pymysql", r"pip install graphlearn\[mysql\]"),
        ("mariadb://ann:s3cret@host/shop", "pymysql", r"pip install graphlearn\[mysql\]"),
        ("oracle+cx_oracle://ann:s3cret@host/shop", "cx_Oracle", "pip install cx_Oracle"),
    ],
)
def test_a_missing_driver_is_named_with_its_extra(monkeypatch, text, module, how):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=rf"Python needs the module '{module}': {how}") as caught:
        engine(parse_url(text))
    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_not_there_gives_one_line():
    for scheme in ("postgresql", "mysql"):
        with pytest.raises(Exception, match=r"127\.0\.0\.1") as caught:
            engine(parse_url(f"{scheme}://ann:s3cret@127.0.0.1:1/shop")).connect()
        said = reason(caught.value)
        assert "refused" in said
        assert "\n" not in said
        assert "s3cret" not in said
