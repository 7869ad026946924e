"""URLs of SQL servers as users type them: parsed, opened with the driver of ours, shown without a password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from graphlearn.errors import SourceError, UsageError, unknown_name

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite+pysqlite",
}
"""What SQLAlchemy calls the scheme of a URL together with the driver that we install for it."""

EXTRAS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""The extra of this package that installs a driver, by SQLAlchemy's name of the kind of database."""

CONNECT_TIMEOUT = 10
"""Seconds to wait for a server that does not answer, unless the URL says otherwise."""


def redact(source: str) -> str:
    """``source`` without the password of a URL, for messages and run folders."""
    # To the last '@': a password that should have been percent-encoded may hold one itself.
    hidden = re.sub(r"(:/+[^/@:\s]*):\S*@", r"\1:***@", source)
    return re.sub(r"(?i)([?&;\s](?:password|passwd|pwd|token|sslpassword)=)[^&;\s]*", r"\1***", hidden)


def parse_url(text: str) -> URL:
    """The URL of a database, with the driver of ours for PostgreSQL, MySQL, MariaDB and SQLite.

    Args:
        text: Such as ``postgresql://ann@host/shop``. Another scheme is taken as SQLAlchemy understands it.

    Raises:
        UsageError: If it is no URL, or of a scheme that SQLAlchemy does not know.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(text)
        port = url.port
    except (ArgumentError, ValueError) as error:
        # What SQLAlchemy says may hold the password.
        raise UsageError(
            f"'{redact(text)}' is not the URL of a database. Write scheme://user:password@host:port/database, with "
            "%40 for an '@' in the password, %3A for ':' and %2F for '/'."
        ) from error
    # Of an unescaped password that holds '@' and '/', one part would be taken for the host, the rest for the database.
    cut = "@" in (url.host or "") or bool(url.host and "@" in (url.database or ""))
    if cut or (port is not None and not 0 < port < 65536):
        raise UsageError(
            f"'{redact(text)}' is not the URL of a database: "
            + ("write an '@' in the password as %40, and a '/' as %2F." if cut else f"there is no port {port}.")
        )
    if url.drivername in DRIVERS:
        return url.set(drivername=DRIVERS[url.drivername])
    try:
        url.get_dialect()
    except NoSuchModuleError as error:
        raise UsageError(f"'{redact(text)}': {unknown_name('scheme', url.drivername, DRIVERS)}") from error
    except ImportError:
        pass  # the scheme is known; its driver is asked for when the database is opened
    return url


def engine(url: URL, **options: Any) -> Engine:
    """SQLAlchemy's engine for what :func:`parse_url` gave; connections are closed when they are given back.

    Args:
        url: The URL.
        options: More arguments of ``sqlalchemy.create_engine``.

    Raises:
        SourceError: If the driver is not installed; the message says how to install it.
    """
    import sqlalchemy as sa

    kind = url.get_backend_name()
    args = {"connect_timeout": CONNECT_TIMEOUT} if kind in EXTRAS and "connect_timeout" not in url.query else {}
    try:
        # Values would stand in the text of errors.
        return sa.create_engine(url, poolclass=sa.NullPool, connect_args=args, hide_parameters=True, **options)
    except ImportError as error:
        extra = EXTRAS.get(kind)
        how = f"pip install graphlearn[{extra}]" if extra else f"pip install {error.name}"
        raise SourceError(f"to open {shown(url)}, Python needs the module '{error.name}': {how}.") from error


def shown(url: URL) -> str:
    """``url`` for messages and run folders: without the password and the name of the driver."""
    return redact(url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True))


def reason(error: BaseException) -> str:
    """What a server or driver says in one line, without the SQL, its values and SQLAlchemy's links."""
    said = getattr(error, "orig", None) or error
    # PyMySQL gives (number, text).
    text = str(said.args[1]) if len(said.args) == 2 and isinstance(said.args[0], int) else str(said)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE ", "^", "CONTEXT:"))]
    return redact(" ".join(kept) or type(said).__name__).rstrip(".")
