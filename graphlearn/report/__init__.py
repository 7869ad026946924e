"""A run as one self-contained HTML page."""

from graphlearn.report.write import Report, make_report, write_report

__all__ = ["Report", "make_report", "write_report"]
