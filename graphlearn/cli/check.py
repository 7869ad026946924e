"""``graphlearn check``: what is wrong, or odd, in the data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import DataError
from graphlearn.schema.check import check as check_database


def check(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A database (file or URL), a folder of tables or a RelBench folder.")
    ],
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A manifest to use instead of inferring keys and times.")
    ] = None,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Report what is wrong with the data: broken keys, nulls in keys, times in the future.

    Exit code 3 if something is an error: then labels, graphs or predictions would be wrong.
    """
    with open_database(source, schema=schema, tables=tables, exclude=exclude, cache=cache) as db:
        report = check_database(db)
    if as_json:
        findings = [dataclasses.asdict(finding) for finding in report.findings]
        typer.echo(json.dumps({"ok": report.ok, "findings": findings}, ensure_ascii=False))
    else:
        typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(DataError.exit_code)
