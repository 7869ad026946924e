"""What a server says of its tables: columns, keys, comments, views and how many rows to expect."""

from __future__ import annotations

import contextlib
import fnmatch
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphlearn.database.column_types import Reading, reading
from graphlearn.database.names import check_names
from graphlearn.database.source import DeclaredKey
from graphlearn.errors import SourceError, unknown_name

if TYPE_CHECKING:
    from sqlalchemy import Connection, Inspector

SYSTEM = ("information_schema", "pg_catalog", "pg_toast")
POSTGRESQL_TABLES = """
    SELECT n.nspname, c.relname, c.reltuples::bigint,
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), c.relispartition,
           c.relkind IN ('v', 'm')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
MYSQL_TABLES = "SELECT table_name, table_rows FROM information_schema.tables WHERE table_schema = DATABASE()"


@dataclass(frozen=True)
class Options:
    """Which tables of a server are read, and where they are kept.

    Args:
        tables: Globs; a table is read if one matches its name, or its name with the schema. None: all tables.
        exclude: Globs of tables, and of columns as ``table.column``, that are not read.
        cache: The DuckDB file to keep.
        needed: The tables that a schema names; without ``tables``, no others are read.
    """

    tables: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    cache: str | None = None
    needed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerColumn:
    """A column that is read."""

    name: str
    reading: Reading
    comment: str = ""


@dataclass(frozen=True)
class ServerTable:
    """A table or view of a server.

    Args:
        name: What it is called here: without its schema, unless two schemas have a table of that name.
        schema: Its schema on the server, or None: there are none.
        table: Its name on the server.
        columns: Those that are read.
        rows: How many rows the server expects it to have; 0 if it does not know.
        is_view: Whether it is a view.
        comment: What the server says about it.
        pkey: Its declared primary key.
        fkeys: Its declared foreign keys, to tables that are read.
    """

    name: str
    schema: str | None
    table: str
    columns: tuple[ServerColumn, ...]
    rows: int = 0
    is_view: bool = False
    comment: str = ""
    pkey: tuple[str, ...] = ()
    fkeys: tuple[DeclaredKey, ...] = ()


Key = tuple[str | None, str]


def reflect(con: Connection, options: Options, place: str, *, plain: bool = False) -> tuple[ServerTable, ...]:
    """The tables of a server that are to be read; says aloud what is left out although nobody asked for that.

    Args:
        con: A connection in the transaction that reads.
        options: Which tables are read.
        place: What the server is called in messages.
        plain: Whether only types that every database has are read.

    Raises:
        SourceError: If there is no table to read, or no right to read one that is needed.
        UnknownNameError: If ``options`` name a table that is not there.
    """
    import sqlalchemy as sa

    # MariaDB differs from MySQL only in a few types.
    dialect = "mysql" if con.dialect.name == "mariadb" else con.dialect.name
    inspector = sa.inspect(con)
    with warnings.catch_warnings():
        # SQLAlchemy warns of types that it does not know; they are named below, as not usable.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        found = _Found(inspector, _schemas(inspector, dialect))
    known = _facts(con, dialect)
    keys = [key for key in found.columns if not known.get(key, _Facts()).is_part]
    names = _names(keys, found.default, place)
    chosen = _choose(names, options, place)
    for key in [key for key in chosen if not known.get(key, _Facts()).readable]:
        leave_out(chosen.pop(key), options, place, "may not be read by this user")
    types = "" if plain else dialect
    columns = {key: _columns(key, name, found, options, types, place) for key, name in chosen.items()}
    for key in [key for key in chosen if not columns[key]]:
        leave_out(chosen.pop(key), options, place, "has no column that can be used")
    if not chosen:
        raise SourceError(f"{place} holds no tables" + (" that may be read." if names else "."))
    return tuple(_table(key, columns[key], chosen, found, known) for key in chosen)


@dataclass(frozen=True)
class _Facts:
    rows: int = 0
    readable: bool = True
    is_part: bool = False
    is_view: bool = False


class _Found:
    """What the inspector reports of all schemas, by (schema, table)."""

    def __init__(self, inspector: Inspector, schemas: Sequence[str | None]) -> None:
        from sqlalchemy.engine.reflection import ObjectKind
        from sqlalchemy.exc import OperationalError

        self.default = inspector.default_schema_name
        self.columns: dict[Key, Any] = {}
        self.pkeys: dict[Key, Any] = {}
        self.fkeys: dict[Key, Any] = {}
        self.comments: dict[Key, Any] = {}
        self.views: set[Key] = set()
        for schema in schemas:
            views = inspector.get_view_names(schema=schema)
            self.views |= {(schema, view) for view in views}
            try:
                self.columns |= inspector.get_multi_columns(schema=schema, kind=ObjectKind.ANY)
            except OperationalError:
                # SQLite gives up at the first view whose table is gone.
                self.columns |= inspector.get_multi_columns(schema=schema, kind=ObjectKind.TABLE)
                for view in views:
                    with contextlib.suppress(OperationalError):
                        self.columns[schema, view] = inspector.get_columns(view, schema=schema)
            self.pkeys |= inspector.get_multi_pk_constraint(schema=schema)
            self.fkeys |= inspector.get_multi_foreign_keys(schema=schema)
            if inspector.dialect.supports_comments:
                self.comments |= inspector.get_multi_table_comment(schema=schema, kind=ObjectKind.ANY)
        for key in sorted(self.views, key=str):
            # Of such a view only the name is left.
            self.columns.setdefault(key, [])


def _schemas(inspector: Inspector, dialect: str) -> list[str | None]:
    if dialect != "postgresql":
        return [None]
    return [name for name in inspector.get_schema_names() if name not in SYSTEM and not name.startswith("pg_t")]


def _facts(con: Connection, dialect: str) -> dict[Key, _Facts]:
    if dialect == "postgresql":
        return {
            (schema, table): _Facts(max(int(rows), 0), bool(readable), bool(part), bool(view))
            for schema, table, rows, readable, part, view in con.exec_driver_sql(POSTGRESQL_TABLES)
        }
    if dialect == "mysql":
        return {(None, table): _Facts(int(rows or 0)) for table, rows in con.exec_driver_sql(MYSQL_TABLES)}
    return {}


def _names(keys: Iterable[Key], default: str | None, place: str) -> dict[Key, str]:
    lowered = [table.lower() for _, table in keys]
    names = {
        (schema, table): table if lowered.count(table.lower()) == 1 else f"{schema or default}.{table}"
        for schema, table in keys
    }
    check_names("table", names.values(), place)
    return names


def _choose(names: Mapping[Key, str], options: Options, place: str) -> dict[Key, str]:
    for glob in options.tables or ():
        if not any(_matches(key, name, glob) for key, name in names.items()):
            raise unknown_name(f"table of {place}", glob, names.values())
    if options.tables is not None:
        chosen = [key for key, name in names.items() if any(_matches(key, name, glob) for glob in options.tables)]
    else:
        chosen = [key for key, name in names.items() if not options.needed or name in options.needed]
    return {key: names[key] for key in chosen if not any(_matches(key, names[key], glob) for glob in options.exclude)}


def _matches(key: Key, name: str, glob: str) -> bool:
    schema, table = key
    return any(
        text == glob or fnmatch.fnmatchcase(text.lower(), glob.lower()) for text in (name, f"{schema}.{table}", table)
    )


def leave_out(name: str, options: Options, place: str, why: str) -> None:
    """Says aloud that a table is not read.

    Raises:
        SourceError: If it is needed: asked for by its name, or named by the schema.
    """
    if name in (options.tables or ()) or name in options.needed:
        raise SourceError(
            f"{place}: the table '{name}', which is needed, {why}. Give this user the right to read it (GRANT SELECT), "
            "or do not ask for it."
        )
    warnings.warn(f"{place}: '{name}' {why} and is left out.", stacklevel=2)


def say_useless(place: str, table: str, column: str, kind: str) -> None:
    """Says aloud that a column is not read."""
    warnings.warn(f"{place}: column '{table}.{column}' is left out: its type {kind} is of no use here.", stacklevel=2)


def _columns(
    key: Key, name: str, found: _Found, options: Options, dialect: str, place: str
) -> tuple[ServerColumn, ...]:
    """The columns that are read; says aloud which types are of no use."""
    check_names("column", [column["name"] for column in found.columns[key]], f"{place}, table '{name}'")
    keys = [found.pkeys.get(key) or {}, *(found.fkeys.get(key) or [])]
    in_keys = {column for declared in keys for column in declared.get("constrained_columns") or ()}
    columns = []
    for column in found.columns[key]:
        if any(_matches_column(key, name, column["name"], glob) for glob in options.exclude):
            continue
        how = reading(column["type"], dialect, is_key=column["name"] in in_keys)
        if how is None:
            say_useless(place, name, column["name"], _type_name(column["type"]))
        else:
            columns.append(ServerColumn(column["name"], how, column.get("comment") or ""))
    return tuple(columns)


def _table(
    key: Key, columns: tuple[ServerColumn, ...], chosen: Mapping[Key, str], found: _Found, known: Mapping[Key, _Facts]
) -> ServerTable:
    schema, table = key
    pkey = tuple((found.pkeys.get(key) or {}).get("constrained_columns") or ())
    kept = {column.name for column in columns}
    fkeys = []
    for fkey in found.fkeys.get(key) or []:
        target = (fkey["referred_schema"] or (None if schema is None else found.default), fkey["referred_table"])
        referred = _known_as(target, chosen)
        if referred is not None and kept >= set(fkey["constrained_columns"]):
            # SQLite lets a key leave out what it refers to: the primary key.
            to = fkey["referred_columns"] or (found.pkeys.get(referred) or {}).get("constrained_columns") or ()
            fkeys.append(DeclaredKey(tuple(fkey["constrained_columns"]), chosen[referred], tuple(to)))
    return ServerTable(
        name=chosen[key],
        schema=schema,
        table=table,
        columns=columns,
        rows=known.get(key, _Facts()).rows,
        is_view=known.get(key, _Facts()).is_view or key in found.views,
        comment=(found.comments.get(key) or {}).get("text") or "",
        pkey=pkey if kept >= set(pkey) else (),
        fkeys=tuple(sorted(fkeys, key=lambda key: key.columns)),
    )


def _known_as(target: Key, chosen: Mapping[Key, str]) -> Key | None:
    if target in chosen:
        return target
    # SQLite and MySQL do not always keep the case of the name that a key was declared with.
    return next((key for key in chosen if key[0] == target[0] and key[1].lower() == target[1].lower()), None)


def _matches_column(key: Key, name: str, column: str, glob: str) -> bool:
    schema, table = key
    texts = {f"{name}.{column}", f"{table}.{column}", f"{schema}.{table}.{column}"}
    return any(text == glob or fnmatch.fnmatchcase(text.lower(), glob.lower()) for text in texts)


def _type_name(kind: Any) -> str:
    import sqlalchemy as sa

    return "(unknown)" if isinstance(kind, sa.types.NullType) else type(kind).__name__.upper()
