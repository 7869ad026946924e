"""A trained student as files that need neither this package nor a graph."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.nn import Linear, Module

from graphlearn.compress.distill import LinkStudent
from graphlearn.errors import GraphLearnError
from graphlearn.nn.head import LinkHead


@dataclass(frozen=True)
class ExportedStudent:
    """The files of an exported student.

    Attributes:
        program: A ``torch.export`` program; ``torch.export.load(program).module()`` runs it.
        onnx: An ONNX model with inputs ``x_src`` and ``x_dst`` and output ``score``; None if it was not asked for.
    """

    program: Path
    onnx: Path | None


def export_student(student: Module, head: LinkHead, folder: str | Path, *, onnx: bool = True) -> ExportedStudent:
    """Writes ``student.pt2`` and ``student.onnx``: features of both ends of any number of links in, logits out.

    Both hold the student as it scores, without dropout, on a CPU and in float32. Each file is written aside and then
    moved to its place, so an interrupted export leaves the files that were there.

    Args:
        student: ``student(x)`` gives a vector per row; its first linear layer says how many features it takes.
        head: Scores pairs of vectors.
        folder: Made if it is not there.
        onnx: Whether to write ``student.onnx`` too; needs the extra ``graphlearn[onnx]``.

    Raises:
        GraphLearnError: If ONNX is asked for and its packages are not installed.
        ValueError: If the student has no linear layer.
    """
    if onnx and any(find_spec(name) is None for name in ("onnx", "onnxscript")):
        raise GraphLearnError(
            "ONNX needs the packages onnx and onnxscript, which are not installed. Run  pip install 'graphlearn[onnx]' "
            "or take onnx=False to write the torch.export program alone."
        )
    first = next((module for module in student.modules() if isinstance(module, Linear)), None)
    if first is None:
        raise ValueError(
            f"{type(student).__name__} has no linear layer, so nothing says how many features it takes. "
            f"Export a student that reads features, such as MLPStudent."
        )
    model = LinkStudent(copy.deepcopy(student), copy.deepcopy(head)).eval().cpu().float()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # A batch of one or none would be taken for a constant.
    rows = (torch.zeros(2, first.in_features), torch.zeros(2, first.in_features))
    links = torch.export.Dim("links")
    program = torch.export.export(model, rows, dynamic_shapes={"x_src": {0: links}, "x_dst": {0: links}})
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export") as aside:
        written = [Path(aside) / "student.pt2"]
        torch.export.save(program, written[0])
        if onnx:
            written.append(Path(aside) / "student.onnx")
            torch.onnx.export(
                program, input_names=["x_src", "x_dst"], output_names=["score"], dynamo=True, verbose=False
            ).save(written[1])  # type: ignore[union-attr]
        moved = [path.replace(folder / path.name) for path in written]
    return ExportedStudent(moved[0], moved[1] if onnx else None)
