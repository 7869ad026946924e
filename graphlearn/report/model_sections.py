"""The sections of the page about the model: its training, what it looks at, examples, audit, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphlearn.report import charts, words
from graphlearn.report.canvas import NARROW, WIDE, both
from graphlearn.report.examples import Example
from graphlearn.report.markup import Markup, join, tag
from graphlearn.report.material import Material
from graphlearn.report.sections import Section, first_metric

_SHOWN = 12
"""Most columns of the chart of what matters."""
_LABELS = {"ok": "✓ ok", "warn": "! look", "fail": "✕ failed"}


def training(m: Material) -> Section:
    """Loss and metric by epoch."""
    title = "Training"
    key, name, _ = first_metric(m)
    found = m.run.meta.get("metrics", {})
    scores = _series(m.history, f"val_{key}")
    # Epochs of the second training are those that were not judged.
    losses = _series([r for r in m.history if f"val_{key}" in r], "loss")
    refit = _series([r for r in m.history if f"val_{key}" not in r], "loss")
    if not losses and not refit:
        if (m.run.folder / "metrics.jsonl").is_file():
            why = "This kind of model keeps no record of epochs, so there are no learning curves."
        else:
            why = "There are no learning curves: the run folder has no metrics.jsonl."
        return Section("training", title, None, why)
    chosen = found.get("best_epoch")
    drawn = []
    if scores:
        drawn.append(lambda width: charts.curve(scores, f"{name}, validation", chosen=chosen, width=width))
    drawn.append(lambda width: charts.curve(losses, "loss, train", chosen=chosen, width=width, also=refit))
    half = (WIDE - 24) // 2
    figures = [
        join([tag("div", draw(half if len(drawn) > 1 else WIDE), class_="wide"),
              tag("div", draw(NARROW), class_="narrow")])
        for draw in drawn
    ]  # fmt: skip
    words_ = f"Epoch {chosen} was chosen on validation." if chosen else "Validation could not choose among the epochs."
    if refit:
        words_ += " Then the model was trained again for as many epochs with the labels of validation, too (dashed)."
    charts_ = tag("div", *(tag("div", figure) for figure in figures), class_="pair" if len(figures) > 1 else None)
    return Section("training", title, tag("figure", charts_, tag("figcaption", words_)))


def matters(m: Material) -> Section:
    """What moves the predictions."""
    title = "What matters"
    if m.shares is None:
        return Section("matters", title, None, m.missing)
    if not m.shares["share"].sum() > 0:
        return Section("matters", title, None, "Nothing moves the predictions: they are the same for every row.")
    tables = m.shares.groupby("table")["share"].sum().sort_values(ascending=False, kind="stable")
    of_tables = [(str(name), float(share)) for name, share in tables.items() if share > 0.0005]
    named = m.shares["table"] + "." + m.shares["column"]
    columns = [(n, float(s)) for n, s in zip(named, m.shares["share"], strict=True) if s > 0.0005][:_SHOWN]
    caption = (
        "How far predictions move when one column is mixed up among the rows of its table, as a share of all columns "
        "together. It tells what the model reads, not what causes the outcome."
    )
    return Section(
        "matters", title,
        join(
            [
                tag("h3", "Tables"),
                tag("figure", both(lambda width: charts.bars(of_tables, "Share of each table", width))),
                tag("h3", "Columns"),
                tag("figure", both(lambda width: charts.bars(columns, "Share of each column", width)),
                    tag("figcaption", caption)),
            ]
        ),
    )  # fmt: skip


def examples(m: Material) -> Section:
    """The highest, a typical and the lowest prediction."""
    title = "Examples"
    if not m.examples:
        return Section("examples", title, None, m.missing)
    return Section("examples", title, join(_example(m, example) for example in m.examples))


def audit(m: Material) -> Section:
    """The findings of the audit."""
    title = "Audit"
    if m.audit is None:
        return Section("audit", title, None, m.missing)
    items = [
        tag(
            "li",
            tag("span", _LABELS[finding.status], class_=f"status {finding.status}"),
            tag("span", finding.check),
            tag("p", finding.what),
            tag("p", finding.advice, class_="lead") if finding.advice else None,
        )
        for finding in m.audit.findings
    ]
    lead = (
        "Whether the numbers above can be trusted: is anything newer than it may be, do train and test share answers, "
        "does one column give the label away, do results age."
    )
    return Section("audit", title, join([tag("p", lead), tag("ul", *items, class_="findings")]))


def making(m: Material) -> Section:
    """Timings, settings, the data's fingerprint and the versions."""
    meta = m.run.meta
    found = meta.get("metrics", {})
    spent = {**{stage: value for stage, value in meta.get("timings", {}).items()}}
    if "seconds" in found:
        spent.setdefault("epochs", found["seconds"])
    facts = {
        "made": meta.get("created", words.UNKNOWN),
        "source": meta.get("source", words.UNKNOWN),
        "run": m.run.id,
        "data": f"fingerprint {meta.get('fingerprint', words.UNKNOWN)}",
        "time spent": ", ".join(f"{k} {words.seconds(v)}" for k, v in spent.items() if _is_number(v)) or words.UNKNOWN,
        "versions": ", ".join(f"{name} {version}" for name, version in meta.get("versions", {}).items()),
    }
    settings = dict(_flat({k: meta[k] for k in _SETTINGS if k in meta}))
    parts = [
        _facts(facts),
        tag("details", tag("summary", "All settings"), _facts(settings)),
    ]
    if meta.get("choice"):
        choice = dict(_flat(meta["choice"]))
        parts.insert(1, tag("details", tag("summary", "How the kind of model was chosen"), _facts(choice)))
    return Section("making", "How it was made", join(parts))


_SETTINGS = ("model", "kind", "regime", "seed", "refit", "model_config", "train_config", "encoder", "text_encoder")


def _example(m: Material, example: Example) -> Markup:
    heads = {"highest": "Highest", "typical": "In the middle", "lowest": "Lowest"}
    read = ", ".join(f"{words.number(rows)} of {table}" for table, rows in example.seen)
    facts: dict[str, object] = {"predicted": tag("strong", example.predicted), "what came": example.came}
    if example.seen:
        facts["rows read"] = read
    if example.columns:
        facts["its row"] = join(
            part
            for i, (name, value) in enumerate(example.columns)
            for part in (", " if i else None, f"{name} = {value}")
        )
    head = f"{heads[example.which]}: {m.task.entity_table} {words.clipped(example.entity, 60)}, {example.at}"
    return join([tag("h3", head), _facts(facts)])


def _facts(facts: Mapping[str, object]) -> Markup:
    return tag("dl", *(join([tag("dt", k), tag("dd", v)]) for k, v in facts.items()), class_="facts")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, float):
            yield name, words.number(value)
        else:
            yield name, words.clipped("none" if value is None else value, 200)


def _series(history: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(int(r["epoch"]), float(r[key])) for r in history if _is_number(r.get(key))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
