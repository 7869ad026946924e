"""Runs and interrupted trainings on disk: safetensors and JSON, whole or absent, never pickle."""

from __future__ import annotations

import json
import os
import shutil
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
from graphlearn.training.loop import TrainState

#: Raised when what a run folder holds changes; a folder of another format is refused, not guessed at.
FORMAT = 1


def partial_path(out: Path) -> Path:
    """Where a training that is to become ``out`` keeps its last epoch."""
    return out.with_name(out.name + ".partial.safetensors")


def save_run(
    out: Path,
    weights: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    history: list[dict[str, Any]],
    *,
    force: bool = False,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Writes the run folder aside, then renames it to ``out``; ``add`` may put more into the folder.

    Raises:
        StorageError: If it cannot be written; then ``out`` is as it was.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, aside / "model.safetensors")
            (aside / "run.json").write_text(json.dumps({"format": FORMAT, **meta}, indent=1), encoding="utf-8")
            lines = "".join(json.dumps(record) + "\n" for record in history)
            (aside / "metrics.jsonl").write_text(lines, encoding="utf-8")
            if add is not None:
                add(aside)
            aside.chmod(0o755)
            if force and out.exists():
                shutil.rmtree(out)
            aside.rename(out)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except (OSError, SafetensorError) as error:
        raise StorageError(f"the run {out} could not be written: {error}.") from error


def load_run(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``run.json`` and the weights of a run folder.

    Raises:
        RunError: If it is no run folder, is incomplete, or was written in another format.
    """
    file = folder / "run.json"
    if not file.is_file():
        raise RunError(f"{folder} is not a run folder (it has no run.json). Name the folder given to train --out.")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        found = meta["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is not readable as a run: {error}. Train again, or restore the file.") from error
    if found != FORMAT:
        raise RunError(
            f"{folder} was written in run format {found} by graphlearn {meta.get('versions', {}).get('graphlearn', '?')}; "
            f"this version reads format {FORMAT}. Train again, or install that version."
        )
    try:
        return meta, load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder / 'model.safetensors'} cannot be read: {error}. Train again, or restore it.") from error


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
        "best_epoch": state.best_epoch,
        "best_score": state.best_score,
        "seconds": state.seconds,
        "history": state.history,
    }
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        save_file(kept, aside, metadata={"state": json.dumps(facts), "plan": plan})
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        aside.unlink(missing_ok=True)
        raise StorageError(f"the state of the training could not be kept in {path}: {error}.") from error


def load_state(path: Path, model: torch.nn.Module, optimizer: AdamW, plan: str) -> TrainState:
    """Puts model and optimizer back to where :func:`save_state` left them.

    Raises:
        RunError: If there is nothing to go on from, or it belongs to another plan.
    """
    if not path.is_file():
        raise RunError(f"there is no interrupted training to resume: {path} does not exist. Leave --resume out.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
        facts = json.loads(metadata["state"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}. Delete it and train again.") from error
    if metadata.get("plan") != plan:
        raise RunError(
            f"{path} belongs to a training with another source, task, setting or seed. "
            "Resume with the same arguments, or delete the file and train again."
        )
    model.load_state_dict(_part(tensors, "model."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optim.").items():
        number, key = name.split(".", 1)
        moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return TrainState(best=_part(tensors, "best."), **facts)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
