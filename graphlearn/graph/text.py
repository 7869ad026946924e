"""Text columns without a language model: a signed hash of character n-grams, one vector per distinct text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from graphlearn.errors import UsageError
from graphlearn.native import kernels

Floats: TypeAlias = npt.NDArray[np.float32]
TextEncoder: TypeAlias = Callable[[Sequence[str]], npt.ArrayLike | Tensor]
"""Turns a list of texts into one vector each, an array or tensor ``[n, dim]``; the same text always into the same."""

# The odd multipliers are those of xxHash and splitmix64; any fixed odd numbers with mixed bits would do.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xC2B2AE3D27D4EB4F)
_BLOCK = 1 << 16


def hash_ngrams(texts: pa.Array, dim: int = 64, sizes: Sequence[int] = (2, 3, 4), max_length: int = 512) -> Floats:
    """Vectors of unit length whose inner product approximates the share of common character n-grams.

    Each n-gram of the lower-cased UTF-8 bytes, with one space before and after the text, adds +1 or -1 to one of
    ``dim`` components, both chosen by its hash (Weinberger et al., "Feature Hashing for Large Scale Multitask
    Learning", arXiv:0902.2206). No vocabulary, hence nothing to fit and nothing that can leak.

    Args:
        texts: Arrow strings; NULL and empty texts give zeros.
        dim: Components of a vector.
        sizes: Lengths of the n-grams in bytes.
        max_length: What lies beyond this many characters is not read.

    Returns:
        float32 ``[len(texts), dim]``.
    """
    lowered = pc.utf8_slice_codeunits(pc.utf8_lower(pc.fill_null(texts.cast(pa.large_string()), "")), 0, max_length)
    empty = pc.equal(lowered, "").to_numpy(zero_copy_only=False)
    nothing, space = (pa.scalar(text, pa.large_string()) for text in ("", " "))
    joined = pc.binary_join_element_wise(nothing, lowered, nothing, space)
    out = np.zeros((len(joined), dim), dtype=np.float32)
    _, offsets, data = joined.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[joined.offset : joined.offset + len(joined) + 1]
    if len(joined) and kernels is not None:
        length = np.array(sizes, dtype=np.int64)
        kernels.add_ngrams(
            data.address, ends.ctypes.data, len(joined), length.ctypes.data, len(length), out.ctypes.data, dim,
            torch.get_num_threads(),
        )  # fmt: skip
    elif len(joined):
        _add_ngrams(np.frombuffer(data, dtype=np.uint8), ends, out, sizes)
    out[empty] = 0
    norm = np.linalg.norm(out, axis=1, keepdims=True)
    np.divide(out, norm, out=out, where=norm > 0)
    return out


def _add_ngrams(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], out: Floats, sizes: Sequence[int]) -> None:
    """Adds the n-grams of each text ``data[ends[i] : ends[i + 1]]`` to ``out[i]``: the twin of the native kernel."""
    start = 0
    while start < len(out):
        # A stretch of texts small enough for a core's cache, of at least one text.
        stop = int(np.searchsorted(ends, ends[start] + _BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), start + max(1, _BLOCK // out.shape[1]), len(out))
        _add_block(data[ends[start] : ends[stop]], ends[start : stop + 1] - ends[start], out[start:stop], sizes)
        start = stop


def _add_block(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], out: Floats, sizes: Sequence[int]) -> None:
    code = data.astype(np.uint64)
    row = np.repeat(np.arange(len(out)), np.diff(ends))
    last = ends[1:][row]  # one past the end of the text that each byte belongs to
    dim = out.shape[1]
    for size in sizes:
        count = max(len(code) - size + 1, 0)
        gram = np.full(count, size, dtype=np.uint64) * _STEP
        for shift in range(size):
            gram = (gram ^ (code[shift : shift + count] + _STEP)) * _MIX
            gram ^= gram >> np.uint64(29)
        inside = np.arange(count) + size <= last[:count]
        gram, where = gram[inside], row[:count][inside]
        sign = 1.0 - 2.0 * ((gram >> np.uint64(40)) & np.uint64(1)).astype(np.float64)
        bucket = where * dim + (gram % np.uint64(dim)).astype(np.int64)
        out += np.bincount(bucket, weights=sign, minlength=out.size).reshape(out.shape)


def vector_length(encoder: TextEncoder) -> int:
    """The length of the encoder's vectors, found by encoding one text.

    Raises:
        UsageError: If it does not give one vector.
    """
    return len(_encoded(encoder, ["text"])[0])


def encode_texts(texts: pa.Array, encoder: TextEncoder | None, dim: int) -> Floats:
    """Vectors of some texts, each distinct one encoded once, by ``encoder`` if given, else by :func:`hash_ngrams`.

    Args:
        texts: Arrow strings; NULL gives zeros.
        encoder: See :data:`TextEncoder`.
        dim: Length of the vectors.

    Raises:
        UsageError: If the encoder does not give one vector of that length for each text.
    """
    dictionary = pc.dictionary_encode(texts)
    distinct, codes = dictionary.dictionary, dictionary.indices
    vectors = np.zeros((len(distinct) + 1, dim), dtype=np.float32)  # the last one is that of NULL
    if encoder is None:
        vectors[:-1] = hash_ngrams(distinct, dim)
    elif len(distinct):
        found = _encoded(encoder, distinct.to_pylist())
        if found.shape[1] != dim:
            raise UsageError(
                f"'text_encoder' gives vectors of {found.shape[1]} numbers, but the statistics were fitted with {dim}. "
                "Give fit_statistics() the same text_encoder."
            )
        vectors[:-1] = found
    rows: npt.NDArray[np.int32] = pc.fill_null(codes, len(distinct)).to_numpy(zero_copy_only=False)
    return vectors[rows]


def _encoded(encoder: TextEncoder, texts: list[str]) -> Floats:
    given = encoder(texts)
    # As float32 first: numpy knows no bfloat16.
    values = given.detach().float().cpu().numpy() if isinstance(given, Tensor) else given
    try:
        found = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"'text_encoder' gave no array of numbers: {error}. Return one vector for each text."
        ) from error
    if found.ndim != 2 or len(found) != len(texts) or found.shape[1] == 0:
        raise UsageError(
            f"'text_encoder' must give one vector for each text, shape [{len(texts)}, dim], got {list(found.shape)}."
        )
    return found
