"""Text columns without a language model: a signed hash of character n-grams, one vector per distinct text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TextEncoder = Callable[[Sequence[str]], "np.ndarray | object"]

# The odd multipliers are those of xxHash and splitmix64; any fixed odd numbers with mixed bits would do.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xC2B2AE3D27D4EB4F)


def hash_ngrams(texts: pa.Array, dim: int = 64, sizes: Sequence[int] = (2, 3, 4), max_length: int = 512) -> np.ndarray:
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
    lowered = pc.utf8_slice_codeunits(pc.utf8_lower(pc.fill_null(texts.cast(pa.string()), "")), 0, max_length)
    empty = pc.equal(lowered, "").to_numpy(zero_copy_only=False)
    joined = pc.binary_join_element_wise("", lowered, "", " ").cast(pa.binary())
    out = np.zeros((len(joined), dim), dtype=np.float32)
    block = max(1, 32_000_000 // (8 * dim))
    for start in range(0, len(joined), block):
        _add_block(joined.slice(start, block), out[start : start + block], sizes)
    out[empty] = 0
    norm = np.linalg.norm(out, axis=1, keepdims=True)
    np.divide(out, norm, out=out, where=norm > 0)
    return out


def _add_block(texts: pa.Array, out: np.ndarray, sizes: Sequence[int]) -> None:
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    row = np.repeat(np.arange(len(texts)), lengths)
    data = np.frombuffer(b"".join(texts.to_pylist()), dtype=np.uint8).astype(np.uint64)
    last = np.cumsum(lengths)[row] if len(row) else row  # one past the end of the text that each byte belongs to
    dim = out.shape[1]
    total = np.zeros(out.size)
    for size in sizes:
        count = len(data) - size + 1
        if count <= 0:
            continue
        code = np.full(count, size, dtype=np.uint64) * _STEP
        for shift in range(size):
            code = (code ^ (data[shift : shift + count] + _STEP)) * _MIX
            code ^= code >> np.uint64(29)
        inside = np.arange(count) + size <= last[:count]
        code, where = code[inside], row[:count][inside]
        sign = 1.0 - 2.0 * ((code >> np.uint64(40)) & np.uint64(1)).astype(np.float64)
        bucket = where * dim + (code % np.uint64(dim)).astype(np.int64)
        total += np.bincount(bucket, weights=sign, minlength=out.size)
    out[:] = total.reshape(out.shape)


def encode_texts(texts: pa.Array, encoder: TextEncoder | None, dim: int) -> np.ndarray:
    """Vectors of a column: each distinct text is encoded once, by ``encoder`` if given, else by :func:`hash_ngrams`."""
    dictionary = pc.dictionary_encode(texts)
    distinct, codes = dictionary.dictionary, dictionary.indices
    if encoder is None:
        vectors = hash_ngrams(distinct, dim)
    else:
        vectors = np.asarray(encoder(distinct.to_pylist()), dtype=np.float32).reshape(len(distinct), -1)
    padded = np.concatenate([vectors, np.zeros((1, vectors.shape[1] if len(vectors) else dim), np.float32)])
    return padded[pc.fill_null(codes, len(distinct)).to_numpy(zero_copy_only=False)]
