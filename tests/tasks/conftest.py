"""Databases and the SQL manifests of rel-f1 that several tests of tasks use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphlearn.schema import Database, connect

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests of queries share

# By the definitions of the data's README: drivers with an event in the window and one after t minus one year.
_WINDOW = """e.date > t.timestamp AND e.date <= t.timestamp + INTERVAL '{timedelta}'"""
_RECENT = """e.driverId IN (SELECT driverId FROM %s WHERE date > t.timestamp - INTERVAL '1 year')"""


def _sql(label: str, column: str, events: str) -> str:
    return f"""
        SELECT t.timestamp AS date, e.driverId AS driverId, {label} AS {column}
        FROM timestamps AS t
        JOIN {events} AS e ON {_WINDOW}
        WHERE {_RECENT % events}
        GROUP BY t.timestamp, e.driverId;  -- one row for each driver who takes part
    """


def _manifest(name: str, task_type: str, column: str, days: int, sql: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "forecast",
        "task_type": task_type,
        "entity_table": "drivers",
        "entity_col": "driverId",
        "target_col": column,
        "time_col": "date",
        "timedelta": f"{days} days",
        "num_eval_timestamps": 40,
        "sql": sql,
    }


F1 = {
    m["name"]: m
    for m in (
        _manifest(
            "driver-dnf",
            "binary_classification",
            "did_not_finish",
            30,
            _sql("max(CASE WHEN e.statusId <> 1 THEN 1 ELSE 0 END)", "did_not_finish", "results"),
        ),
        _manifest(
            "driver-top3",
            "binary_classification",
            "qualifying",
            30,
            _sql("CASE WHEN min(e.position) <= 3 THEN 1 ELSE 0 END", "qualifying", "qualifying"),
        ),
        _manifest("driver-position", "regression", "position", 60, _sql("avg(e.positionOrder)", "position", "results")),
    )
}


@pytest.fixture
def f1_manifests() -> dict[str, dict[str, Any]]:
    """The three driver tasks as forecasts, by name."""
    return {name: dict(manifest) for name, manifest in F1.items()}


@pytest.fixture(params=list(F1))
def f1_manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One after the other of them."""
    return dict(F1[request.param])


@pytest.fixture(scope="session")
def f1(rel_f1: Path) -> Iterator[Database]:
    """rel-f1 as a database."""
    db = connect(rel_f1)
    yield db
    db.close()
