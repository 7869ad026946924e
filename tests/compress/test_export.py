"""What is exported scores as the student does: as a torch program, as ONNX, and from a table of vectors."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from sparse_rows import sparse
from torch.nn import Identity

from graphlearn.compress import EmbeddingTable, MLPStudent, export_student
from graphlearn.compress import export as source
from graphlearn.errors import GraphLearnError
from graphlearn.nn import BilinearHead, DotHead, MLPHead

HEADS = {"dot": DotHead, "bilinear": lambda: BilinearHead(8), "mlp": lambda: MLPHead(8, 5, dropout=0.5)}


def built(name: str = "mlp"):
    torch.manual_seed(0)
    return MLPStudent(6, 8, dropout=0.5), HEADS[name]()


def rows(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", HEADS)
def test_exported_is_the_original(name, tmp_path):
    student, head = built(name)
    found = export_student(student, head, tmp_path / "new")
    assert student.training  # what is exported is a copy
    student.eval()
    head.eval()
    program = torch.export.load(found.program).module()
    session = onnxruntime.InferenceSession(found.onnx, providers=["CPUExecutionProvider"])
    for size in (1, 2, 77):
        src, dst = rows(size, 1), rows(size, 2)
        expected = head(student(src), student(dst))
        torch.testing.assert_close(program(src, dst), expected)
        (score,) = session.run(["score"], {"x_src": src.numpy(), "x_dst": dst.numpy()})
        torch.testing.assert_close(torch.from_numpy(score), expected)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["student.onnx", "student.pt2"]


def test_without_onnx(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    found = export_student(*built(), tmp_path, onnx=False)
    assert found.onnx is None
    assert [path.name for path in tmp_path.iterdir()] == ["student.pt2"]
    with pytest.raises(GraphLearnError, match=r"ONNX needs the packages .* pip install 'graphlearn\[onnx\]'"):
        export_student(*built(), tmp_path)


def test_a_student_without_features_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Identity has no linear layer, so nothing says how many features it takes"):
        export_student(Identity(), DotHead(), tmp_path)


@pytest.mark.parametrize("store", [lambda x: x, sparse])
def test_a_table_scores_as_the_student(store, tmp_path, monkeypatch):
    monkeypatch.setattr("graphlearn.compress.embedding_table._BLOCK", 4)
    student, head = (part.eval() for part in built())
    x = rows(10)
    EmbeddingTable.write(student, store(x), tmp_path / "z.npy")
    table = EmbeddingTable(tmp_path / "z.npy", student, head)
    src, dst = torch.tensor([0, 9, 3]), torch.tensor([4, 4, 3])
    torch.testing.assert_close(table.score(src, dst), head(student(x[src]), student(x[dst])))
    new = rows(3, 5)
    torch.testing.assert_close(table.score_new(new, dst), head(student(new), student(x[dst])))
    with pytest.raises(ValueError, match=r"'dst' must name nodes 0 to 9, but 2 of 3 numbers do not \(first: 10, 10\)"):
        table.score(src, dst + 6)


def test_scoring_leaves_the_table_as_it_is(tmp_path):
    student, head = (part.eval() for part in built())
    EmbeddingTable.write(student, rows(5), tmp_path / "z.npy")
    before = (tmp_path / "z.npy").read_bytes()
    EmbeddingTable(tmp_path / "z.npy", student, head).z.zero_()
    assert (tmp_path / "z.npy").read_bytes() == before


def test_another_file_is_refused(tmp_path):
    np.save(tmp_path / "z.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"must hold a float32 matrix of one row per node, found int64 \[3\]"):
        EmbeddingTable(tmp_path / "z.npy", *built())
