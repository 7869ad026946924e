"""The small values passed between folders."""

from __future__ import annotations

NodeType = str
EdgeType = tuple[str, str, str]
