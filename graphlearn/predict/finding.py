"""What an audit says: findings with a status and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphlearn.errors import unknown_name

STATUSES = ("ok", "warn", "fail")


@dataclass(frozen=True)
class AuditFinding:
    """The answer to one question about a run.

    Args:
        check: What was looked at, one or two words.
        status: ``ok``; ``warn``: a person should look at it, or it could not be checked; ``fail``: the run must not be
            trusted.
        what: What was found, a sentence with numbers.
        numbers: The same for machines, as JSON.
        advice: What to do.
    """

    check: str
    status: str
    what: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.status:<5} {self.check:<12} {self.what} {self.advice}".rstrip()


@dataclass(frozen=True)
class Audit:
    """All findings about a run.

    Args:
        task: Name of the task.
        regime: In which regime it was looked at, the run's own.
        split: The split whose results were looked at: ``test``, or ``val`` if test has no labels.
        findings: One for each question, in the order of asking.
    """

    task: str
    regime: str
    split: str
    findings: tuple[AuditFinding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.status == "fail" for finding in self.findings)

    def finding(self, check: str) -> AuditFinding:
        """The finding of one check.

        Raises:
            UnknownNameError: If there is no such check.
        """
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise unknown_name("check", check, [finding.check for finding in self.findings])

    def to_dict(self) -> dict[str, Any]:
        """Plain values; numbers may be NaN."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        counts = ", ".join(f"{sum(f.status == s for f in self.findings)} {s}" for s in STATUSES)
        return "\n".join([*map(str, self.findings), f"{self.task}, {self.split}, {self.regime}: {counts}"])
