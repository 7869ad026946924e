"""Hashed n-grams against a slow twin, and encoders of the user's own."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.errors import UsageError
from graphlearn.graph import Statistics, build_graph, fit_statistics
from graphlearn.graph import text as text_module
from graphlearn.graph.rows import RowWriter
from graphlearn.graph.text import encode_texts, hash_ngrams, vector_length
from graphlearn.nn.encoder import RowEncoder
from graphlearn.schema import Database, Schema, connect
from graphlearn.schema.schema import Column, Table

WORD = (1 << 64) - 1
native = pytest.mark.skipif(text_module.kernels is None, reason="the native kernels are not built")


def slow_hash(text: str | None, dim: int, sizes: tuple[int, ...], max_length: int) -> list[float]:
    out = [0.0] * dim
    if not text:
        return out
    data = b" " + text.lower()[:max_length].encode() + b" "
    for size in sizes:
        for start in range(len(data) - size + 1):
            code = size * 0x9E3779B97F4A7C15 & WORD
            for byte in data[start : start + size]:
                code = (code ^ (byte + 0x9E3779B97F4A7C15 & WORD)) * 0xC2B2AE3D27D4EB4F & WORD
                code ^= code >> 29
            out[code % dim] += -1.0 if code >> 40 & 1 else 1.0
    norm = math.sqrt(sum(x * x for x in out))
    return [x / norm for x in out] if norm else out


# Lower case as Unicode's simple mapping has it; a few characters (İ) have another one in Python.
LETTERS = st.text(st.characters(exclude_categories=["Cs"]).filter(lambda c: len(c.lower()) == 1), max_size=20)


@pytest.fixture(scope="module", params=[pytest.param(True, marks=native), False], ids=["native", "without"])
def kernels(request):
    """Once with the native kernels and once as if they had not been built."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.param:
            patch.setattr(text_module, "kernels", None)
        yield


@given(
    st.lists(st.one_of(st.none(), st.text("aAbB äÄ\n", max_size=20), st.text(max_size=0), LETTERS), max_size=12),
    st.sampled_from([1, 7, 64]),
    st.sampled_from([(2, 3, 4), (1,), (5,)]),
    st.sampled_from([3, 512]),
)
@settings(max_examples=150, deadline=None)
def test_hashes_are_those_of_the_slow_twin(kernels, texts, dim, sizes, max_length):
    array = pa.array(["left out", *texts], pa.string()).slice(1)
    lowered = [None if t is None else str(pa.compute.utf8_lower(t)) for t in texts]
    expected = [slow_hash(text, dim, sizes, max_length) for text in lowered]
    found = hash_ngrams(array, dim, sizes, max_length)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array(expected).reshape(len(texts), dim), atol=1e-6)


@pytest.mark.parametrize("dim", [3, 300])
def test_blocks_join_without_a_seam(kernels, dim, monkeypatch):
    monkeypatch.setattr(text_module, "_BLOCK", 1_000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    texts = [f"text number {i} of many" if i % 7 else "long " * i for i in range(600)]
    found = hash_ngrams(pa.array(texts * 20), dim, (2, 4))
    for i in range(600):
        np.testing.assert_allclose(found[i], slow_hash(texts[i], dim, (2, 4), 512), atol=1e-6)
    np.testing.assert_array_equal(found.reshape(20, 600, dim), np.broadcast_to(found[:600], (20, 600, dim)))


def test_alike_texts_have_alike_vectors():
    texts = ["Ayrton Senna da Silva", "ayrton senna", "Nürburgring", "NÜRBURGRING", "", None]
    found = hash_ngrams(pa.array(texts), 256)
    assert found[0] @ found[1] > 0.5 > abs(found[0] @ found[2])
    np.testing.assert_array_equal(found[2], found[3])
    assert not found[4:].any()
    np.testing.assert_allclose(np.linalg.norm(found[:4], axis=1), 1.0, rtol=1e-5)


def lengths(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("a"), 1.0] for text in texts], dtype=np.float64)


ENCODERS = {
    "array": lengths,
    "list": lambda texts: lengths(texts).tolist(),
    "tensor": lambda texts: torch.tensor(lengths(texts)),
    "half tensor with gradient": lambda texts: torch.tensor(lengths(texts), dtype=torch.bfloat16, requires_grad=True),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_may_return_arrays_lists_or_tensors(kind):
    texts = pa.array(["aab", None, "b", "aab", ""])
    found = encode_texts(texts, ENCODERS[kind], 3)
    np.testing.assert_array_equal(found, [[3, 2, 1], [0, 0, 0], [1, 0, 1], [3, 2, 1], [0, 0, 1]])
    assert found.dtype == np.float32
    assert vector_length(ENCODERS[kind]) == 3


def test_each_distinct_text_is_encoded_once():
    asked: list[str] = []

    def encoder(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return lengths(texts)

    encode_texts(pa.array(["b", "a", None, "b", "a"]), encoder, 3)
    assert asked == ["b", "a"]
    assert encode_texts(pa.array([None, None], pa.string()), encoder, 3).tolist() == [[0, 0, 0]] * 2
    assert encode_texts(pa.array([], pa.string()), encoder, 3).shape == (0, 3)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        (lambda texts: lengths(texts)[:-1], r"must give one vector for each text, shape \[2, dim\], got \[1, 3\]"),
        (lambda texts: lengths(texts)[:, 0], r"got \[2\]"),
        (lambda texts: lengths(texts)[:, :0], r"got \[2, 0\]"),
        (lambda texts: [[1.0], [1.0, 2.0]], r"'text_encoder' gave no array of numbers: .* Return one vector"),
        (lambda texts: None, r"got \[\]"),
        (lambda texts: lengths(texts)[:, :2], r"gives vectors of 2 numbers, but the statistics were fitted with 3"),
    ],
)
def test_encoders_that_do_not_encode(encoder, text):
    with pytest.raises(UsageError, match=text):
        encode_texts(pa.array(["a", "b"]), encoder, 3)


def notes() -> Database:
    frames = {"notes": pa.table({"id": [1, 2, 3], "text": ["aa", None, "b"], "title": ["x", "y", "z"]})}
    columns = (Column("id"), Column("text", stype="text"), Column("title", stype="text"))
    return connect(frames, schema=Schema("notes", {"notes": Table("notes", ("id",), columns=columns)}))


def test_an_encoder_gives_statistics_their_length_and_the_graph_its_vectors():
    db = notes()
    statistics = fit_statistics(db, text_encoder=lengths)
    assert [c.dim for c in statistics.tables["notes"]] == [3, 3]
    for graph in (
        build_graph(db, text_encoder=lengths),
        build_graph(db, statistics=Statistics.from_dict(statistics.to_dict()), text_encoder=lengths),
    ):
        vectors = next(iter(graph["notes"].tf.feat_dict.values()))
        assert vectors.values.tolist() == [[2, 2, 1, 1, 0, 1], [0, 0, 0, 1, 0, 1], [1, 0, 1, 1, 0, 1]]
        assert vectors.offset.tolist() == [0, 3, 6]
    # The sizes of a model come from the statistics alone.
    tf, col_stats = RowWriter(statistics.tables["notes"], 0).finish()
    assert RowEncoder(8, col_stats, tf.col_names_dict)(graph["notes"].tf).shape == (3, 8)


def test_an_encoder_that_the_statistics_do_not_know_is_refused():
    db = notes()
    with pytest.raises(UsageError, match=r"fitted with 64\. Give fit_statistics\(\) the same text_encoder"):
        build_graph(db, statistics=fit_statistics(db), text_encoder=lengths)
    with pytest.raises(UsageError, match="must give one vector for each text"):
        fit_statistics(db, text_encoder=lambda texts: [1.0])


def test_without_texts_the_encoder_is_not_asked():
    db = connect({"t": pa.table({"id": [1, 2], "x": [0.5, 1.5]})})

    def never(texts: list[str]) -> np.ndarray:
        raise AssertionError("there are no texts")

    build_graph(db, text_encoder=never)


def test_hashed_vectors_have_the_length_of_the_statistics():
    db = notes()
    graph = build_graph(db, statistics=fit_statistics(db, text_dim=5))
    vectors = next(iter(graph["notes"].tf.feat_dict.values()))
    np.testing.assert_allclose(vectors.values[0, :5], slow_hash("aa", 5, (2, 3, 4), 512), atol=1e-6)
    assert vectors.values.shape == (3, 10)
