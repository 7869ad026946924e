"""The sections of the page about the model: its training, what it looks at, examples, audit, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from graphlearn.predict.audit import column_names
from graphlearn.predict.explanation import Explanation, short
from graphlearn.predict.importance import ROWS
from graphlearn.report import charts, words
from graphlearn.report.canvas import NARROW, WIDE, both
from graphlearn.report.examples import Example
from graphlearn.report.markup import Markup, join, table, tag
from graphlearn.report.material import Material
from graphlearn.report.sections import Section, first_metric

_SHOWN = 12
"""Most bars of a chart of what matters."""
_LEAST, _FAINT = 0.0005, 0.01
_ROWS, _CELLS, _FEATURES = 6, 3, 8
"""Most rows, columns of the own row, and features of trees, of an example."""
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
    tried = _tried(m)
    if not losses and not refit:
        if (m.run.folder / "metrics.jsonl").is_file():
            why = "This kind of model keeps no record of epochs, so there are no learning curves."
        else:
            why = "There are no learning curves: the run folder has no metrics.jsonl."
        if tried is None:
            return Section("training", title, None, why)
        return Section("training", title, join([tried, tag("p", why, class_="missing")]), why)
    chosen = found.get("best_epoch")
    drawn = [partial(charts.curve, losses, "loss, train", chosen=chosen, also=refit)]
    if scores:
        drawn.insert(0, partial(charts.curve, scores, f"{name}, validation", chosen=chosen))
    half = (WIDE - 24) // 2
    figures = [
        join([tag("div", draw(width=half if len(drawn) > 1 else WIDE), class_="wide"),
              tag("div", draw(width=NARROW), class_="narrow")])
        for draw in drawn
    ]  # fmt: skip
    words_ = f"Epoch {chosen} was chosen on validation." if chosen else "Validation could not choose among the epochs."
    if refit:
        words_ += " Then the model was trained again for as many epochs with the labels of validation, too (dashed)."
    if m.run.model is None:
        words_ = "The network that was tried beside the trees. It has no part in the predictions of this run."
    charts_ = tag("div", *(tag("div", figure) for figure in figures), class_="pair" if len(figures) > 1 else None)
    return Section("training", title, join([tried, tag("figure", charts_, tag("figcaption", words_))]))


def _tried(m: Material) -> Markup | None:
    """Which kinds of model were tried, and how they did at earlier cuts."""
    choice = m.run.meta.get("choice") or {}
    scores, folds = choice.get("scores") or {}, choice.get("folds") or []
    if len(scores) < 2:
        return None
    _, name, _ = first_metric(m)
    head = ["tried", *(f"from {fold['cut']}" for fold in folds)]
    rows = [
        [words.clipped(kind, 60), *(words.score(v) for v in [*values, *[None] * len(folds)][: len(folds)])]
        for kind, values in scores.items()
    ]
    lead = f"{name} of what was tried, on labels that came after earlier cuts; test had no part in it. "
    weights = ", ".join(f"{words.percent(share)} {kind}" for kind, share in (m.run.meta.get("weights") or {}).items())
    taken = (
        f"Taken: {choice.get('chosen', words.UNKNOWN)}{f' ({weights})' if weights else ''}: {choice.get('why', '')}."
    )
    return join([tag("p", lead + taken), table(head, rows, caption="What was tried")])


def matters(m: Material) -> Section:
    """What moves the predictions."""
    title = "What matters"
    if m.shares is None:
        return Section("matters", title, None, m.missing)
    if not m.shares["share"].sum() > 0:
        return Section("matters", title, None, "Nothing moves the predictions: they are the same for every row.")
    named = m.shares.assign(named=column_names(m.shares))
    captions = {
        "table": ("Tables", ""),
        "named": (
            "Columns",
            f"How much each column moves predictions, as a share of all effects. {ROWS} stands for how many rows there "
            "are, and when. It tells what the model reads, not what causes the outcome.",
        ),
        "window": ("Windows of time", "How far the rows that move predictions lie before the time of asking."),
    }
    parts: list[Markup] = []
    for by, (heading, caption) in captions.items():
        shares = named.groupby(by)["share"].sum().sort_values(ascending=False, kind="stable")
        rows = [(str(name), float(share)) for name, share in shares.items() if share > _LEAST][:_SHOWN]
        chart = both(partial(charts.bars, rows, f"{heading}: share of each"))
        parts += [tag("h3", heading), tag("figure", chart, tag("figcaption", caption) if caption else None)]
    return Section("matters", title, join(parts))


def examples(m: Material) -> Section:
    """The highest, a typical and the lowest prediction."""
    title = "Examples"
    if not m.examples:
        return Section("examples", title, None, m.missing)
    first, *others = (example.why.notes for example in m.examples)
    shared = [note for note in first if all(note in notes for notes in others)]
    lead = tag("p", " ".join(shared), class_="lead") if shared else None
    return Section("examples", title, join([lead, *(_example(m, example, shared) for example in m.examples)]))


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
    spent = dict(meta.get("timings", {}))
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
    return Section("making", "How it was made", join(parts))


_SETTINGS = ("model", "kind", "regime", "seed", "refit", "model_config", "train_config", "encoder", "text_encoder")


def _example(m: Material, example: Example, said_above: list[str]) -> Markup:
    heads = {"highest": "Highest", "typical": "In the middle", "lowest": "Lowest"}
    why = example.why
    shares = why.what.startswith("probability")
    facts: dict[str, object] = {"predicted": tag("strong", example.predicted), "what came": example.came}
    said = words.percent(why.prediction) if shares else words.number(why.prediction)
    if m.run.regime == "frozen" and said not in example.predicted:
        facts["explained"] = f"{said}, with all rows up to that time in sight"
    if why.seen is not None:
        seen = [f"{words.number(rows)} of {name}" for name, rows in why.seen.items() if rows]
        facts["rows seen"] = ", ".join(seen) or "none beside its own"
    if notes := [note for note in why.notes if note not in said_above]:
        facts["note"] = " ".join(notes)
    effects = _effects(why)
    most = max((abs(value) for _, value in effects), default=0.0)
    rows = [
        [tag("span", text, class_="words"), charts.effect(value / most), _effect(value, shares)]
        for text, value in effects
        if abs(value) > max(_FAINT * most, _LEAST if shares else 0.0)
    ]
    head = f"{heads[example.which]}: {m.task.entity_table} {words.clipped(example.entity, 60)}, {example.at}"
    caption = f"What moved the prediction for {words.clipped(example.entity, 60)}"
    listed = table(["what moved it", "", "effect"], rows, caption=caption, text=2) if rows else None
    return join([tag("h3", head), _facts(facts), listed])


def _effects(why: Explanation) -> list[tuple[str, float]]:
    """Rows, columns of the own row, and what trees read, each with its effect, the greatest first within each kind."""
    rows = sorted(((row.text, row.attribution) for row in why.rows), key=_size)
    own = [(f"own row: {c.column} {short(c.value)}", c.attribution) for c in (why.own.cells if why.own else ())]
    read = [(f"{f.name} = {short(f.value)}", f.attribution) for f in why.features]
    return rows[:_ROWS] + sorted(own, key=_size)[:_CELLS] + sorted(read, key=_size)[:_FEATURES]


def _size(item: tuple[str, float]) -> float:
    return -abs(item[1])


def _effect(value: float, shares: bool) -> str:
    """A change of a prediction; of a probability in hundredths."""
    text = f"{100 * value:+.1f} points" if shares else ("+" if value > 0 else "") + words.number(value, 2)
    return text.replace("-", "\u2212")


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
