"""Runs and interrupted trainings on disk: safetensors and JSON, whole or absent, never pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import AdamW

from graphlearn.errors import RunError, StorageError
from graphlearn.models.ranker import RANKERS
from graphlearn.training.loop import TrainState

#: Raised when what a run folder holds changes; a folder of another format is refused, not guessed at. Format 1 knew
#: GNNs only, and is still read.
FORMAT, _READ = 2, (1, 2)


KINDS = ("constant", "gbdt", "gnn", "fused", *RANKERS[:2])
"""Kinds of runs: one value for all, trees, a network, or a network and trees together; and of those that rank, where
``fused`` is towers and ways together."""
NETWORKS = ("gnn", *RANKERS)
"""Those with a network."""


def kind_of(meta: Mapping[str, Any]) -> str:
    """The kind of a run; before there were several it was not said."""
    return str(meta.get("kind", "gnn"))


def partial_path(out: Path) -> Path:
    """Where a training that is to become ``out`` keeps its last epoch."""
    return out.with_name(out.name + ".partial.safetensors")


def save_run(
    out: Path,
    weights: Mapping[str, Tensor] | None,
    meta: Mapping[str, Any],
    history: list[dict[str, Any]],
    *,
    force: bool = False,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Writes the run folder aside, then renames it to ``out``; ``add`` may put more into the folder.

    ``weights`` are those of the network; None if the run has none.

    With ``force`` an earlier ``out`` is moved away first, and deleted only when the new one stands in its place.

    Raises:
        StorageError: If it cannot be written; then ``out`` is as it was.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
            made, old = Path(aside) / "new", Path(aside) / "old"
            made.mkdir()
            if weights is not None:
                save_file(_apart(weights), made / "model.safetensors")
            (made / "run.json").write_text(to_json({"format": FORMAT, **meta}, indent=1), encoding="utf-8")
            lines = "".join(to_json(record) + "\n" for record in history)
            (made / "metrics.jsonl").write_text(lines, encoding="utf-8")
            if add is not None:
                add(made)
            try:
                if force and out.exists():
                    os.replace(out, old)
                made.rename(out)
            finally:
                if old.exists() and not out.exists():
                    os.replace(old, out)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"the run {out} could not be written: {_reason(error)}.") from error


def load_meta(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run folder.

    Raises:
        RunError: If it is no run folder, is incomplete, or was written in another format.
    """
    file = folder / "run.json"
    if not file.is_file():
        found = "it has no run.json" if folder.is_dir() else "there is no such folder"
        raise RunError(f"{folder} is not a run folder: {found}. Name the folder given to train --out.")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        form, versions = meta["format"], dict(meta.get("versions", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is not readable as a run: {_reason(error)}. Train again, or restore it.") from error
    if form not in _READ:
        raise RunError(
            f"{folder} was written in run format {form} by graphlearn {versions.get('graphlearn', '?')}; "
            f"this version reads format {FORMAT}. Train again, or install that version."
        )
    return dict(meta)


def load_run(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """``run.json`` and the weights of a run folder; None of a kind of run that has no network.

    Raises:
        RunError: If it is no run folder, is incomplete, or was written in another format.
    """
    meta = load_meta(folder)
    weights = folder / "model.safetensors"
    if kind_of(meta) not in NETWORKS:
        return meta, None
    try:
        return meta, load_file(weights)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{weights} cannot be read: {_reason(error)}. Train again, or restore it.") from error


def run_id(folder: Path, meta: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that are the same for runs that predict the same: of weights, trees, settings and task.

    Where the folder is, when it was made and from which place the data came does not matter.
    """
    digest = hashlib.sha256()
    for path in [folder / "model.safetensors", *sorted(folder.glob("trees-*.txt"))]:
        if path.is_file():
            digest.update(path.read_bytes())
    task = {key: value for key, value in meta["task"].items() if key != "folder"}
    facts = {key: meta[key] for key in ("model_config", "schema", "statistics", "regime")}
    # A run of a GNN alone has none of these, and keeps the id that it had when there were no others.
    facts |= {key: meta[key] for key in ("aggregates", "constant", "weights") if meta.get(key) is not None}
    digest.update(json.dumps({**facts, "task": task}, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def save_state(path: Path, weights: Mapping[str, Tensor], optimizer: AdamW, state: TrainState, plan: str) -> None:
    """Keeps a training as it stands after an epoch, in one file that replaces the last one at once.

    Args:
        path: The file.
        weights: Of the model as it is now.
        optimizer: Of the model.
        state: Where the training stands.
        plan: What is being trained on what, as text; only the same plan may go on from the file.
    """
    tensors = {f"model.{k}": v for k, v in weights.items()} | {f"best.{k}": v for k, v in state.best.items()}
    for i, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optim.{i}.{k}": v for k, v in values.items()}
    facts = {
        "epoch": state.epoch,
        "refit": state.refit,
        "best_epoch": state.best_epoch,
        "best_score": state.best_score,
        "seconds": state.seconds,
        "history": state.history,
        "decided": state.decided,
    }
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(_apart(tensors), aside, metadata={"state": json.dumps(facts), "plan": plan})
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        before = " It still holds the epoch before: make room and go on with --resume." if path.exists() else ""
        raise StorageError(f"the training could not be kept in {path}: {_reason(error)}.{before}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def check_state(path: Path) -> None:
    """Raises if no interrupted training is kept in ``path``.

    Raises:
        RunError: Then.
    """
    if not path.is_file():
        raise RunError(f"there is no interrupted training to go on with: {path} does not exist. Leave --resume out.")


def load_state(path: Path, model: torch.nn.Module, optimizer: AdamW, plan: str) -> TrainState:
    """Puts model and optimizer back to where :func:`save_state` left them.

    Raises:
        RunError: If there is nothing to go on from, or it belongs to another plan.
    """
    check_state(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
        facts = json.loads(metadata["state"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {_reason(error)}. Start again with --force.") from error
    if metadata.get("plan") != plan:
        raise RunError(
            f"{path} belongs to a training with other data, labels, settings, versions or another seed. "
            "Resume with the same arguments, or start again with --force."
        )
    model.load_state_dict(_part(tensors, "model."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optim.").items():
        number, key = name.split(".", 1)
        moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    # What was loaded is a view of the file, which the next epoch replaces.
    return TrainState(best={name: tensor.clone() for name, tensor in _part(tensors, "best.").items()}, **facts)


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON text, with null for numbers that JSON does not have: a metric without a value is NaN."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reason(error: Exception) -> str:
    """What went wrong in a few words; the path stands in the message already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return " ".join(str(error).split()).rstrip(".")


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, because safetensors refuses tensors that share memory, as layers may."""
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
