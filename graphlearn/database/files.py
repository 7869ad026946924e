"""Sources on disk: Parquet and CSV files, folders of them, and RelBench 3 folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from graphlearn.database.connection import first_line
from graphlearn.database.names import check_names
from graphlearn.database.source import Source
from graphlearn.database.sql import literal, quote
from graphlearn.database.views import add_view
from graphlearn.errors import SourceError, first_three, unknown_name

if TYPE_CHECKING:
    import duckdb

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz")


def open_file(con: duckdb.DuckDBPyConnection, path: Path) -> Source:
    """One table, named like the file."""
    name = _table_name(path)
    _add_table(con, name, [path], path.parent)
    return Source(con, name=name, source=str(path), tables=[name])


def open_folder(con: duckdb.DuckDBPyConnection, folder: Path) -> Source:
    """One table per file, and one per subfolder, whose files are its parts; other files are left alone."""
    parts: dict[str, list[Path]] = {}
    owner: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if _is_hidden(path):
            continue
        files = _data_files(path)
        if not files:
            continue
        name = path.name if path.is_dir() else _table_name(path)
        if name.lower() in owner:
            raise SourceError(
                f"'{owner[name.lower()].name}' and '{path.name}' in {folder} both give the table '{name}': "
                f"remove or rename one of them."
            )
        owner[name.lower()] = path
        parts[name] = files
    if not parts:
        found = first_three(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise SourceError(
            f"no Parquet or CSV files in {folder}; found: {found}. Give the folder that holds the tables."
        )
    for name, files in parts.items():
        path = owner[name.lower()]
        _add_table(con, name, files, path if path.is_dir() else folder)
    manifest = folder / "manifest.yaml"
    return Source(
        con,
        name=folder.resolve().name,
        source=str(folder),
        tables=parts,
        manifest=manifest if manifest.is_file() else None,
    )


def open_relbench(con: duckdb.DuckDBPyConnection, folder: Path) -> Source:
    """A folder with ``manifest.yaml`` and ``db/<table>.parquet``; the tables are those that the manifest lists."""
    import yaml

    manifest = folder / "manifest.yaml"
    try:
        content = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{manifest} is not readable as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("tables"), dict) or not content["tables"]:
        raise SourceError(f"{manifest} lists no tables: it needs a mapping 'tables:' from names to keys.")
    tables = [str(table) for table in content["tables"]]
    check_names("table", tables, str(manifest))
    for table in tables:
        path = folder / "db" / f"{table}.parquet"
        if not path.is_file():
            known = sorted(p.stem for p in (folder / "db").glob("*.parquet"))
            raise SourceError(
                f"{manifest} lists the table '{table}', but {path} does not exist. "
                + str(unknown_name("file for table", table, known))
            )
        _add_table(con, table, [path], path.parent)
    name = str(content.get("name") or folder.resolve().name)
    return Source(con, name=name, source=str(folder), tables=tables, folder=folder, manifest=manifest)


def is_data_file(path: Path) -> bool:
    """Whether the name is that of a Parquet or CSV file."""
    return path.name.lower().endswith(PARQUET + CSV)


def _table_name(path: Path) -> str:
    name = path.name
    for ending in sorted(PARQUET + CSV, key=len, reverse=True):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def _is_hidden(path: Path) -> bool:
    # Also the bookkeeping of engines that write parts: _SUCCESS, _delta_log, _temporary.
    return path.name.startswith((".", "_"))


def _data_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if is_data_file(path) else []
    inside = (p for p in path.rglob("*") if p.is_file() and is_data_file(p))
    return sorted(p for p in inside if not any(_is_hidden(q) for q in [p, *p.relative_to(path).parents][:-1]))


def _add_table(con: duckdb.DuckDBPyConnection, name: str, files: list[Path], root: Path) -> None:
    import duckdb

    kinds = {path.name.lower().endswith(PARQUET) for path in files}
    if len(kinds) > 1:
        raise SourceError(f"the parts of table '{name}' in {root} are Parquet and CSV: keep one of the two.")
    try:
        if kinds == {True}:
            _add_parquet(con, name, files, root)
        else:
            _add_csv(con, name, files, root)
    except (duckdb.Error, OSError) as error:
        where = str(files[0]) if len(files) == 1 else f"the {len(files)} parts in {root}"
        raise SourceError(f"table '{name}' cannot be read from {where}: {first_line(error)}.") from error


def _add_parquet(con: duckdb.DuckDBPyConnection, name: str, files: list[Path], root: Path) -> None:
    _check_columns(name, files, root, _parquet_names)
    # Partition folders (year=2024) count only inside the table's own folder, not above it.
    hive = any("=" in part for part in files[0].relative_to(root).parts[:-1])
    union = len(files) > 1
    add_view(
        con,
        name,
        f"read_parquet({file_list(files)}, hive_partitioning = {literal(hive)}, union_by_name = {literal(union)})",
    )


def _add_csv(con: duckdb.DuckDBPyConnection, name: str, files: list[Path], root: Path) -> None:
    _check_columns(name, files, root, lambda path: _csv_names(con, path))
    # Types from all rows (sample_size = -1): a sample may miss the one row that does not fit.
    options = "header = true, sample_size = -1, nullstr = ['', '\\N']"
    # Parsed once into compressed memory (which spills) instead of once per query.
    con.execute("ATTACH IF NOT EXISTS ':memory:' AS source (COMPRESS)").fetchall()
    con.execute(
        f"CREATE TABLE source.main.{quote(name)} AS SELECT * FROM read_csv({file_list(files)}, {options}, "
        f"union_by_name = {literal(len(files) > 1)})"
    ).fetchall()
    add_view(con, name, f"source.main.{quote(name)}")


def _check_columns(name: str, files: list[Path], root: Path, names_of: Callable[[Path], list[str]]) -> None:
    """Refuses names that SQL cannot hold, and files side by side that are tables of their own."""
    first: set[str] = set()
    for path in files:
        names = names_of(path)
        check_names("column", names, str(path))
        found = {name.lower() for name in names}
        first = first or found
        if 2 * len(first & found) < min(len(first), len(found)):
            raise SourceError(
                f"{root} would be one table '{name}', but its files '{files[0].name}' and '{path.name}' have different "
                f"columns. If each file is a table, give {root} itself."
            )


def _parquet_names(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path} is not a Parquet file: {' '.join(str(error).split())}.") from error


def _csv_names(con: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    # The names as the file has them: DuckDB itself renames the second of two equal ones.
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty: it needs a line with the names of the columns.")
    delimiter, quote_char, skip = con.execute(
        f"SELECT Delimiter, Quote, SkipRows FROM sniff_csv({file_list([path])[1:-1]}, header = true)"
    ).fetchall()[0]
    first = con.execute(
        f"SELECT * FROM read_csv({file_list([path])}, header = false, all_varchar = true, "
        f"delim = {literal(_given(delimiter))}, quote = {literal(_given(quote_char))}, skip = {skip}) LIMIT 1"
    ).fetchall()
    return [str(value or "") for value in first[0]]


def _given(option: str) -> str:
    return "" if option == "(empty)" else option


def file_list(files: list[Path]) -> str:
    """The paths as SQL for ``read_parquet`` and ``read_csv``."""
    # DuckDB reads *, ? and [ in a path as a pattern; in brackets they stand for themselves.
    escaped = ("".join(f"[{c}]" if c in "*?[" else c for c in str(path)) for path in files)
    return "[" + ", ".join(literal(path) for path in escaped) + "]"
