"""A run and its database to one HTML page: no scripts, no fonts, nothing that is loaded from anywhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from graphlearn.errors import StorageError, UsageError
from graphlearn.predict import Run
from graphlearn.predict.run import check_values
from graphlearn.report import model_sections, sections, words
from graphlearn.report.markup import Markup, join, tag
from graphlearn.report.material import Material, gather
from graphlearn.report.sections import Section, first_metric
from graphlearn.schema import Database
from graphlearn.tasks.times import duration_text

_SECTIONS = (
    sections.result,
    sections.question,
    sections.database,
    sections.calibration,
    sections.distance,
    model_sections.training,
    model_sections.matters,
    model_sections.examples,
    model_sections.audit,
    model_sections.making,
)
_KINDS = {"gnn": "GNN", "gbdt": "boosted trees", "fused": "GNN and trees"}
# Nothing may be loaded and nothing may run, whatever a name or a value in the data says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Report:
    """A page.

    Args:
        html: Its text.
        missing: For each section, by its id, why there is nothing in it; empty if there is.
    """

    html: str
    missing: dict[str, str]


def write_report(
    run: Run, db: Database | None = None, out: str | Path | None = None, *, progress: bool = False
) -> Path:
    """Writes the page of a run; it is whole or absent.

    Args:
        run: The run.
        db: The database; by default the one that the run was trained on. Without either, the sections that need data
            say so.
        out: The file, by default ``report.html`` in the run folder. One that is there is replaced.
        progress: Show a bar on stderr, if that is a terminal.

    Returns:
        The file.

    Raises:
        UsageError: If ``out`` is a folder, ``db`` is not a database that the run can read, or the run ranks.
        StorageError: If it cannot be written; then the file is as it was.
    """
    return save_report(make_report(run, db, progress=progress), place(run, out))


def make_report(run: Run, db: Database | None = None, *, progress: bool = False) -> Report:
    """The page of a run; see :func:`write_report`."""
    check_values(run.task, "report")
    material = gather(run, db, progress=progress)
    made = [make(material) for make in _SECTIONS]
    return Report(str(_page(material, made)), {section.id: section.missing for section in made})


def place(run: Run, out: str | Path | None = None) -> Path:
    """The file to write.

    Raises:
        UsageError: If it is a folder.
    """
    file = run.folder / "report.html" if out is None else Path(out)
    if file.is_dir():
        raise UsageError(f"{file} is a folder: name the file to write, such as {file / 'report.html'}.")
    return file


def save_report(report: Report, file: Path) -> Path:
    """Writes a page aside, then renames it to ``file``.

    Raises:
        StorageError: If it cannot be written; then the file is as it was.
    """
    aside: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        aside = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(report.html)
        mask = os.umask(0)
        os.umask(mask)
        aside.chmod(0o666 & ~mask)  # as any other file of the user's; temporary ones are private
        os.replace(aside, file)
    except OSError as error:
        if aside is not None:
            aside.unlink(missing_ok=True)
        raise StorageError(f"the report could not be written to {file}: {error.strerror or error}.") from error
    return file


def _page(m: Material, made: list[Section]) -> Markup:
    title = f"{m.task.name}: report of a run"
    style = (files("graphlearn.report") / "page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"graphlearn {m.run.meta.get('versions', {}).get('graphlearn', '')}"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        _header(m, made),
        tag("main", *(_section(section) for section in made)),
        tag(
            "footer", tag("p", f"Written by graphlearn from the run {m.run.id}. This page loads nothing from anywhere.")
        ),
    )
    return join([Markup("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"), Markup("\n")])


def _section(section: Section) -> Markup:
    body = section.body if section.body is not None else tag("p", section.missing, class_="missing")
    return tag("section", tag("h2", section.title), body, id=section.id, aria_label=section.title)


def _header(m: Material, made: list[Section]) -> Markup:
    links = [tag("li", tag("a", section.title, href=f"#{section.id}")) for section in made]
    return tag(
        "header",
        tag("p", f"graphlearn report · {m.task.name}", class_="eyebrow"),
        tag("h1", question_text(m)),
        _tiles(m),
        tag("nav", tag("ul", *links), aria_label="Sections"),
    )


def question_text(m: Material) -> str:
    """The question in one line."""
    task = m.task
    if task.description:
        return words.clipped(task.description, 220)
    if task.query is not None:
        return words.clipped(task.query, 220)
    after = "" if task.completes else f" in the {duration_text(task.timedelta)} after the time of asking"
    return words.clipped(f"{task.target_col} for each of {task.entity_table}{after}", 220)


def _tiles(m: Material) -> Markup:
    task = m.task
    tiles: list[tuple[str, object, str]] = []
    if m.compared is not None and m.scored is not None:
        key, name, better = first_metric(m)
        run, *others = m.compared.to_dict("records")
        interval = f"{words.between(run['low'], run['high'])}, {m.scored.split}, {m.run.regime}"
        tiles.append((name, words.score(run[key]), interval))
        best = _best(others, key, better)
        if best is not None:
            tiles.append(("best baseline", words.score(best[key]), str(best["model"])))
    else:
        tiles.append(("result", words.UNKNOWN, "no data at hand"))
    tiles.append(("entity", task.entity_table, f"{str(task.task_type.value).replace('_', ' ')}, {m.run.regime}"))
    if m.audit is not None:
        bad = [sum(f.status == status for f in m.audit.findings) for status in ("fail", "warn")]
        word = "failed" if bad[0] else "passed"
        tiles.append(("audit", word, f"{len(m.audit.findings)} checks, {bad[1]} to look at"))
    kind = _KINDS.get(m.run.kind, m.run.kind)
    tiles.append(("model", kind, f"seed {m.run.meta.get('seed', words.UNKNOWN)}"))
    return tag(
        "dl", *(tag("div", tag("dt", k), tag("dd", v, tag("small", note))) for k, v, note in tiles), class_="tiles"
    )


def _best(rows: list[dict[Hashable, Any]], key: str, better: str) -> dict[Hashable, Any] | None:
    """The row with the best value, if one has any."""
    known = [row for row in rows if np.isfinite(row[key])]
    return (max if better == "higher" else min)(known, key=lambda row: float(row[key]), default=None)
