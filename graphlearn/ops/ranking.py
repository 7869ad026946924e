"""The best of many: top k of all pairs' scores without holding them."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.csr_torch import entries_to_rows

#: Scores that are held at a time: 256 MiB of float32.
_HELD = 64 * 2**20
#: Sources of one product; fewer would leave the processor waiting for the items' rows.
_MOST_SOURCES = 512
#: Neighbouring scores that are looked at together.
_CHUNK = 64


def top_k(
    source: Tensor,
    item: Tensor,
    k: int,
    *,
    extra: tuple[Tensor, Tensor, Tensor] | None = None,
    candidates: Tensor | None = None,
    held: int = _HELD,
) -> tuple[Tensor, Tensor]:
    r"""The k items with the highest scores of each source, best first.

    .. math:: s_{ui} = \langle z_u, z_i \rangle + e_{ui}

    with ``e`` zero but for the pairs in ``extra``. Scores are made in blocks, of which only the best are kept; of a
    block the maxima of chunks say which chunks can hold any of them, so that most scores are read once and never
    sorted. Equal scores are in no particular order.

    Cost: ``O(S N F)`` time, ``held`` scores of memory.

    Args:
        source: Vectors of the sources.
        item: Vectors of the items.
        k: How many, ``1 <= k <= N``.
        extra: ``(rowptr, col, value)``, a CSR matrix ``[S, N]``: what is added to the scores of some pairs; -inf leaves
            a pair out.
        candidates: Only these items may be named.
        held: Most scores in memory.

    Shapes:
        - ``source``: ``[S, F]``;  ``item``: ``[N, F]`` of the same dtype
        - ``rowptr``: ``[S + 1]`` int64;  ``col``: ``[P]`` int64;  ``value``: ``[P]``;  ``candidates``: ``[N]`` bool
        - returns values ``[S, k]`` and items ``[S, k]`` int64; where fewer than k are left, -inf and -1

    Raises:
        ValueError: If ``k`` is out of range or shapes do not fit.
    """
    if source.dim() != 2 or item.dim() != 2 or source.size(1) != item.size(1):
        raise ValueError(
            f"'source' and 'item' must be [S, F] and [N, F], got {list(source.shape)}, {list(item.shape)}."
        )
    if not 1 <= k <= item.size(0):
        raise ValueError(f"'k' must be between 1 and the number of items, {item.size(0)}, got {k}.")
    width = min(item.size(0), max(held // _MOST_SOURCES, 4 * k, _CHUNK))
    height = max(1, min(_MOST_SOURCES, held // width))
    values, names = [], []
    for first in range(0, source.size(0), height):
        block = source[first : first + height]
        best, named = block.new_zeros(len(block), 0), torch.zeros(len(block), 0, dtype=torch.int64, device=item.device)
        for start in range(0, item.size(0), width):
            scores = block @ item[start : start + width].t()
            if extra is not None:
                _add(scores, extra, first, start)
            if candidates is not None:
                scores.masked_fill_(~candidates[start : start + width], -torch.inf)
            found, at = _best(scores, min(k, scores.size(1)))
            best, order = torch.cat([best, found], dim=1).topk(min(k, best.size(1) + found.size(1)), dim=1)
            named = torch.cat([named, at + start], dim=1).gather(1, order)
        values.append(best)
        names.append(named.masked_fill(best == -torch.inf, -1))
    if not values:
        return source.new_zeros(0, k), torch.zeros(0, k, dtype=torch.int64, device=item.device)
    return torch.cat(values), torch.cat(names)


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top k of each row: the k chunks with the highest maxima hold them."""
    chunks = scores.size(1) // _CHUNK
    if chunks < 2 * k:
        found = scores.topk(k, dim=1)
        return found.values, found.indices
    whole = scores[:, : chunks * _CHUNK].view(len(scores), chunks, _CHUNK)
    high = whole.amax(dim=2).topk(k, dim=1, sorted=False).indices  # [S, k]
    inside = torch.arange(_CHUNK, device=scores.device)
    at = (high.unsqueeze(2) * _CHUNK + inside).flatten(1)
    rest = torch.arange(chunks * _CHUNK, scores.size(1), device=scores.device).expand(len(scores), -1)
    at = torch.cat([at, rest], dim=1)
    found = scores.gather(1, at).topk(k, dim=1)
    return found.values, at.gather(1, found.indices)


def _add(scores: Tensor, extra: tuple[Tensor, Tensor, Tensor], first: int, start: int) -> None:
    rowptr, col, value = extra
    ptr = rowptr[first : first + len(scores) + 1]
    low, high = int(ptr[0]), int(ptr[-1])
    row = entries_to_rows(ptr - low, high - low)
    inside = (col[low:high] >= start) & (col[low:high] < start + scores.size(1))
    pairs = (row[inside], col[low:high][inside] - start)
    scores.index_put_(pairs, value[low:high][inside].to(scores.dtype), accumulate=True)
