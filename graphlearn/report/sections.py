"""The sections of the page about the question, the data and the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from graphlearn.report import charts, words
from graphlearn.report.calibrate import bins_of
from graphlearn.report.canvas import both
from graphlearn.report.diagram import diagram
from graphlearn.report.markup import Markup, join, table, tag
from graphlearn.report.material import Material
from graphlearn.tasks import TaskType
from graphlearn.tasks.metrics import METRICS, primary_metric
from graphlearn.tasks.times import duration_text, time_text, time_us

REGIMES = {
    "frozen": "Frozen regime: no row newer than the start of the split is visible to any of its rows.",
    "rolling": "Rolling regime: each row sees everything up to the time that it is asked about.",
}
NAMES = {
    "auroc": "AUROC", "average_precision": "average precision", "f1": "F1",
    "mae": "MAE", "rmse": "RMSE",
    "r2": "R²", "macro_f1": "macro F1", "mrr": "MRR", "log_loss": "log loss", "macro_auprc": "macro AUPRC",
    "macro_auroc": "macro AUROC",
}  # fmt: skip
_ANCHORS = 60
"""Most points of the chart of labels."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        id: Its anchor.
        title: Its heading.
        body: What follows, or None.
        missing: Without a body, the sentence that says why.
    """

    id: str
    title: str
    body: Markup | None
    missing: str = ""


def metric_name(metric: str) -> str:
    """A metric as it is written in a text; that of one step of several has its number."""
    name, _, step = metric.rpartition("_")
    return f"step {step}" if step.isdigit() and name else NAMES.get(metric, metric.replace("_", " "))


def first_metric(m: Material) -> tuple[str, str, str]:
    """The metric that the task is judged by: its key, its name, and which direction is better."""
    key, higher = primary_metric(str(m.task.task_type.value))
    return key, metric_name(key), "higher" if higher else "lower"


def result(m: Material) -> Section:
    """Metrics beside the baselines."""
    if m.compared is None or m.scored is None:
        return Section("result", "Result", None, m.missing)
    key, name, better = first_metric(m)
    rows = [
        charts.Interval(str(row["model"]), row[key], row["low"], row["high"], i == 0)
        for i, row in enumerate(m.compared.to_dict("records"))
    ]
    known = [metric for metric in m.compared.columns if metric not in ("model", "low", "high", "regime", key)]
    higher = METRICS[TaskType(str(m.task.task_type.value))]
    head = ["model", name, "95 % interval", *(metric_name(metric) for metric in known)]
    body = [
        [row.name, words.score(row.value), words.between(row.low, row.high), *(words.score(v) for v in values)]
        for row, values in zip(rows, m.compared[known].to_numpy().tolist(), strict=True)
    ]
    lower = [metric_name(metric) for metric in known if not higher.get(metric, better == "higher")]
    note = f" Of {', '.join(lower)} less is better." if lower and better == "higher" else ""
    trained = (
        " The model was trained again with the labels of this split, so these numbers flatter it."
        if m.scored.trained_on
        else ""
    )
    chart = both(lambda width: charts.interval_rows(rows, name, better, width))
    caption = (
        f"{words.count(len(m.scored.label), 'row')} of the {m.scored.split} split; intervals: 95 %, by entity. "
        f"All models answer the same rows and see nothing newer than this run does.{note}{trained}"
    )
    return Section(
        "result", "Result",
        join([tag("figure", chart, tag("figcaption", caption)), table(head, body, caption="Metrics of each model")]),
    )  # fmt: skip


def question(m: Material) -> Section:
    """The question and its labels over time."""
    task = m.task
    parts: list[Markup] = []
    if task.query is not None:
        parts.append(tag("pre", str(task.query)))
    parts.append(tag("p", _asked(m)))
    if m.labels:
        parts += _labels(m)
    else:
        parts.append(tag("p", m.missing, class_="missing"))
    return Section("question", "The question and its labels", join(parts))


def database(m: Material) -> Section:
    """The schema diagram and its tables."""
    schema = m.run.schema
    drawn = diagram(schema, m.task.entity_table, m.rows or None)
    scrolls = tag("div", drawn, class_="scroll", tabindex=0, role="region", aria_label="Schema diagram")
    caption = "Each line is a foreign key, from the table that holds it on the right to the table that it names."
    if not m.rows:
        caption += f" Row counts are missing: {m.missing}"
    rows = [
        [
            name,
            words.number(m.rows[name]) if name in m.rows else words.UNKNOWN,
            ", ".join(t.pkey) or words.UNKNOWN,
            t.time_col or words.UNKNOWN,
            "; ".join(f"{k.name} → {k.table}" for k in t.fkeys) or words.UNKNOWN,
        ]
        for name, t in schema.tables.items()
    ]
    head = ["table", "rows", "primary key", "time", "foreign keys"]
    listed = tag("details", tag("summary", "All tables and keys"), _tables(head, rows))
    return Section("database", "The database", join([tag("figure", scrolls, tag("figcaption", caption)), listed]))


def calibration(m: Material) -> Section:
    """Whether predictions mean what they say."""
    title = "Calibration"
    if m.scored is None:
        return Section("calibration", title, None, m.missing)
    bins, shares, texts = bins_of(m.scored)
    if not bins:
        return Section("calibration", title, None, f"There is nothing to draw: {texts.caption}")
    chart = both(lambda width: charts.calibration(bins, texts.across, texts.up, shares=shares, width=width))
    form: Callable[[float], str] = words.percent if shares else words.number
    rows = [[form(b.predicted), form(b.actual), f"{form(b.low)} to {form(b.high)}", words.number(b.rows)] for b in bins]
    head = ["predicted", texts.up, texts.spread, "rows"]
    numbers = tag("details", tag("summary", "Numbers"), table(head, rows, caption="Calibration", text=0))
    figure = tag("figure", chart, tag("figcaption", texts.caption))
    return Section("calibration", title, join([figure, numbers]))


def distance(m: Material) -> Section:
    """How results fall with the time since train."""
    title = "Over time"
    if m.audit is None:
        return Section("time", title, None, m.missing)
    found = m.audit.finding("distance")
    key, name, better = first_metric(m)
    groups = found.numbers["groups"]
    known = [g for g in groups if np.isfinite(g[key])]
    if len(known) < 2:
        return Section("time", title, None, found.what)
    spans = [
        charts.Span(time_us(g["from"], "from"), time_us(g["to"], "to"), g[key], g["low"], g["high"], g["rows"])
        for g in known
    ]
    chart = both(lambda width: charts.over_time(spans, name, better, width))
    rows = [
        [f"{g['from']} to {g['to']}", words.number(g["days_after_train"]), words.number(g["rows"]),
         words.score(g[key]), words.between(g["low"], g["high"])]
        for g in groups
    ]  # fmt: skip
    head = ["anchors", "days after train", "rows", name, "95 % interval"]
    numbers = tag("details", tag("summary", "Numbers"), table(head, rows, caption=f"{name} over time"))
    return Section(
        "time", title, join([tag("figure", chart, tag("figcaption", found.what, " ", found.advice)), numbers])
    )


def _asked(m: Material) -> Markup:
    task = m.task
    kind = str(task.task_type.value).replace("_", " ")
    window = "" if task.completes else f", about the {duration_text(task.timedelta)} after the time of asking"
    hidden = ", ".join(f"{table}.{column}" for table, column in task.remove_columns)
    return join(
        [
            f"A {kind} task about each row of ", tag("code", task.entity_table), f"{window}. ",
            f"Validation starts at {time_text(task.val_time)}, test at {time_text(task.test_time)}. ",
            REGIMES[m.run.regime],
            join([" Hidden from the model: ", tag("code", hidden), "."]) if hidden else None,
        ]
    )  # fmt: skip


def _labels(m: Material) -> list[Markup]:
    values = {split: _numbers(m, frame) for split, frame in m.labels.items()}
    rate = _rate(m)
    # So many neighbouring anchors are drawn together, the same number in each split.
    size = -(-sum(int(frame["seed_time"].nunique()) for frame in m.labels.values()) // _ANCHORS)
    points = [point for split, value in values.items() for point in _points(m.labels[split], value, size)]
    starts = [(split, int(_us(frame).min())) for split, frame in m.labels.items()]
    chart = both(lambda width: charts.labels_over_time(points, starts, rate, width))
    is_share = rate is not None and rate.startswith("share")
    rows = []
    for split, frame in m.labels.items():
        mean = float(values[split].mean())
        shown = words.percent(mean) if is_share else words.number(mean)
        time = _us(frame)
        anchors, entities = (words.number(int(frame[c].nunique())) for c in ("seed_time", "pkey"))
        rows.append(
            [split, words.number(len(frame)), anchors, entities, *([shown] if rate else []),
             words.day(int(time.min())), words.day(int(time.max()))]
        )  # fmt: skip
    head = ["split", "labels", "anchors", "entities", *([rate] if rate else []), "from", "to"]
    caption = "Anchors are the times of asking." + (
        "" if size == 1 else f" Each bar is the mean of {size} neighbouring ones."
    )
    return [
        tag("figure", chart, tag("figcaption", caption)),
        table(head, rows, caption="Labels of each split"),
        *(tag("p", note) for note in m.task.notes),
    ]


def _rate(m: Material) -> str | None:
    kind = m.task.task_type
    if kind == "binary_classification":
        return "share of yes"
    if kind == "multilabel_classification":
        return "classes per label"
    if kind == "multiclass_classification":
        return None
    return "mean label"


def _numbers(m: Material, frame: pd.DataFrame) -> np.ndarray:
    """A number for each label: itself, how many classes it has, or the mean of its steps."""
    kind = m.task.task_type
    if kind == "multiclass_classification":
        return np.zeros(len(frame))
    if kind == "multilabel_classification":
        return np.asarray(frame["label"].str.len(), dtype=float)
    if kind == "multistep_regression":
        return np.array([np.mean(steps) for steps in frame["label"]])
    return np.asarray(frame["label"], dtype=float)


def _points(frame: pd.DataFrame, value: np.ndarray, size: int) -> list[charts.LabelPoint]:
    """The labels of ``size`` neighbouring anchors each."""
    time = _us(frame)
    anchors, number = np.unique(time, return_inverse=True)
    of = number // size
    rows, total = np.bincount(of), np.bincount(of, weights=value)
    first = anchors[::size]
    last = anchors[np.minimum(np.arange(len(first)) * size + size, len(anchors)) - 1]
    return [
        charts.LabelPoint(int(a), int(b), float(n) / min(size, len(anchors) - i * size), float(t / n))
        for i, (a, b, n, t) in enumerate(zip(first, last, rows, total, strict=True))
    ]


def _us(frame: pd.DataFrame) -> np.ndarray:
    return frame["seed_time"].to_numpy().astype("datetime64[us]").astype(np.int64)


def _tables(head: list[str], rows: list[list[str]]) -> Markup:
    """The list of tables: only the second column holds numbers."""
    cells = [[row[0], row[2], row[3], row[4], row[1]] for row in rows]
    return table([head[0], head[2], head[3], head[4], head[1]], cells, caption="Tables and keys", text=4)
