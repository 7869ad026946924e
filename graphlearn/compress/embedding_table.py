"""Vectors of known nodes on disk, so that their links are scored without reading a feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from graphlearn.compress.student import take_rows
from graphlearn.nn.head import LinkHead
from graphlearn.ops.csr_check import check_range

_BLOCK = 1 << 16
"""Nodes whose vectors are made at a time."""


class EmbeddingTable:
    """Scores links among known nodes, whose vectors are in a memory-mapped file, and links with new ones.

    Only the rows that a call names are read from disk. Nothing is trained here: student and head are used as they are.

    Args:
        path: A ``.npy`` file that :meth:`write` made with the same student.
        student: Gives vectors of new nodes from their features; in evaluation mode.
        head: Scores pairs of vectors; in evaluation mode.

    Raises:
        ValueError: If the file holds no float32 matrix. When scoring, if an id is no row of the table.
    """

    def __init__(self, path: str | Path, student: Module, head: LinkHead) -> None:
        # Copy on write: torch wants memory that it could write to, and the file stays as it is.
        table = np.load(path, mmap_mode="c", allow_pickle=False)
        if table.ndim != 2 or table.dtype != np.float32:
            raise ValueError(
                f"{path} must hold a float32 matrix of one row per node, found {table.dtype} {list(table.shape)}. "
                f"Make it with EmbeddingTable.write."
            )
        self.z = torch.from_numpy(table)
        self.student, self.head = student, head

    @staticmethod
    @torch.no_grad()
    def write(student: Module, x: Tensor, path: str | Path) -> None:
        """Writes the vector of each row of ``x`` (``[N, C]``, dense or sparse CSR), a block of nodes at a time."""
        blocks = torch.split(torch.arange(x.size(0)), _BLOCK)
        first = student(take_rows(x, blocks[0]))
        table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(x.size(0), first.size(1)))
        for rows in blocks:
            table[rows[0] : rows[-1] + 1] = student(take_rows(x, rows)).float().cpu().numpy()
        table.flush()

    @torch.no_grad()
    def score(self, src: Tensor, dst: Tensor) -> Tensor:
        """Logits of links between known nodes, ``[L]`` and ``[L]`` int64 to ``[L]``."""
        out: Tensor = self.head(self._rows("'src'", src), self._rows("'dst'", dst))
        return out

    @torch.no_grad()
    def score_new(self, x: Tensor, dst: Tensor) -> Tensor:
        """Logits of links from new nodes, whose features are given, to known ones: ``[L, C]``, ``[L]`` to ``[L]``."""
        out: Tensor = self.head(self.student(x), self._rows("'dst'", dst))
        return out

    def _rows(self, name: str, index: Tensor) -> Tensor:
        check_range(name, index, self.z.size(0))
        return self.z.index_select(0, index)
