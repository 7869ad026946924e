"""Link prediction on one graph: a model beside heuristics, against easy and hard negatives, kept as a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphlearn.errors import RunError, UsageError, first_three, unknown_name
from graphlearn.graph.link_data import LinkData
from graphlearn.graph.ogb import evaluator
from graphlearn.models.link import LinkPredictor
from graphlearn.models.link_presets import ENCODERS, SUBGRAPHS, LinkModelConfig, make_link_model
from graphlearn.ops.heuristics import HEURISTICS
from graphlearn.ops.neighbors import NeighborLists
from graphlearn.sampling.link_split import LinkSplit
from graphlearn.tasks.link_metrics import check_metric
from graphlearn.training.checkpoint import load_run, save_run
from graphlearn.training.link import (
    LinkTrainConfig,
    fit_links,
    heuristic_scores,
    predictor_scores,
    score_split,
)
from graphlearn.training.loop import TrainState
from graphlearn.training.seed import seed_dropout

BASELINES = ("cn", "aa", "ra")
"""Heuristics that every report has beside the model."""
BASELINES_OF_TWO_KINDS = ("pa", "katz", "ppr")
"""The same between two kinds of nodes, which have no neighbours in common."""
METRICS = ("auc", "ap", "mrr", "hits@20")
LINK_MODELS = (*ENCODERS, *SUBGRAPHS, *HEURISTICS)

Scores = dict[str, dict[str, dict[str, float]]]
"""model -> kind of negatives -> metric -> value"""


@dataclass(frozen=True)
class LinkResult:
    """What a run found.

    Attributes:
        model: Name of the model.
        val: Scores on validation of the model and of the heuristics beside it.
        test: The same on test, computed once, after everything was chosen.
        num_parameters: Of the model; 0 for a heuristic.
        best_epoch: The epoch that validation chose; 0 for a heuristic.
        history: A record per epoch.
        predictor: The trained model, None for a heuristic.
    """

    model: str
    val: Scores
    test: Scores
    num_parameters: int = 0
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    predictor: LinkPredictor | None = None


def run_links(
    data: LinkData,
    split: LinkSplit,
    model: str,
    *,
    config: LinkModelConfig | None = None,
    training: LinkTrainConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    on_start: Callable[[LinkPredictor], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> LinkResult:
    """Trains a model on a split, or takes a heuristic, and scores it beside :data:`BASELINES`
    (:data:`BASELINES_OF_TWO_KINDS`).

    Args:
        data: The graph.
        split: Of its links, with the negatives to score against.
        model: One of :data:`LINK_MODELS`.
        config: Settings of a model that is trained.
        training: Settings of its training.
        seed: Of its weights, the order and dropout.
        device: Where to train.
        on_start: Called with the fresh model.
        on_epoch: Called with the record of each epoch.

    Raises:
        UnknownNameError: If there is no such model.
        ValueError: As :func:`~graphlearn.training.link.fit_links`.
    """
    if model not in LINK_MODELS:
        raise unknown_name("link predictor", model, LINK_MODELS)
    training = training or LinkTrainConfig()
    ways: dict[str, Callable[[str], Callable[[Tensor], Tensor]]] = {}
    state, predictor = TrainState(), None
    if model not in HEURISTICS:
        config = replace(config or LinkModelConfig(), model=model)
        seed_dropout(seed, -1)
        predictor = make_link_model(config, data.num_nodes, None if data.x is None else data.x.size(1), seed)
        predictor.to(device)
        if on_start is not None:
            on_start(predictor)
        there, x = _on_device(split, device), None if data.x is None else data.x.to(device)

        def after_epoch(state: TrainState, _: object) -> None:
            if on_epoch is not None:
                on_epoch(state.history[-1])

        state = fit_links(predictor, x, there, training, seed=seed, after_epoch=after_epoch)
        trained = predictor
        ways[model] = lambda phase: _on_cpu(predictor_scores(trained, x, there, phase), device)
    beside = BASELINES if split.num_src is None else BASELINES_OF_TWO_KINDS
    for name in dict.fromkeys([*([model] if model in HEURISTICS else []), *beside]):
        ways[name] = lambda phase, name=name: heuristic_scores(HEURISTICS[name], split, phase)  # type: ignore[misc]
    found = {
        phase: {name: _scores(way(phase), split, phase, data, training.metric) for name, way in ways.items()}
        for phase in ("val", "test")
    }
    parameters = 0 if predictor is None else sum(p.numel() for p in predictor.parameters())
    return LinkResult(model, found["val"], found["test"], parameters, state.best_epoch, state.history, predictor)


def save_link_run(
    out: Path,
    data: LinkData,
    result: LinkResult,
    settings: dict[str, Any],
    *,
    config: LinkModelConfig | None = None,
    seed: int = 0,
    force: bool = False,
) -> None:
    """Writes a run folder, whole or not at all: weights, settings, metrics, and the graph with which pairs are scored.

    Raises:
        StorageError: If it cannot be written; then ``out`` is as it was.
    """
    meta = {
        "kind": "link", "model": result.model, "dataset": data.name, "num_nodes": data.num_nodes, "seed": seed,
        "kinds": list(data.kinds), "num_src": data.num_src, "settings": settings,
        "model_config": None if config is None or result.predictor is None else config.to_dict(),
        "metrics": {"val": result.val, "test": result.test, "best_epoch": result.best_epoch},
        "versions": {name: version(name) for name in ("graphlearn", "torch", "torch-geometric")},
    }  # fmt: skip

    def add(folder: Path) -> None:
        graph = {"edge_index": data.edge_index.contiguous()}
        if data.x is not None:
            graph["x"] = data.x.contiguous()
        save_file(graph, folder / "graph.safetensors")
        if data.names is not None:
            names = json.dumps(list(map(str, data.names)), ensure_ascii=False)
            (folder / "nodes.json").write_text(names, encoding="utf-8")

    weights = None if result.predictor is None else result.predictor.state_dict()
    save_run(out, weights, meta, result.history, force=force, add=add)


class LinkRun:
    """A run folder of link prediction, to score pairs with.

    Args:
        folder: The folder.

    Raises:
        RunError: If it is no such folder, or incomplete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta, _ = load_run(folder)
        if self.meta.get("kind") != "link":
            raise RunError(f"{folder} is a run of graphlearn train, not of graphlearn link. Score it with predict.")
        try:
            graph = load_file(folder / "graph.safetensors")
            self.num_nodes, self.num_src = int(self.meta["num_nodes"]), self.meta["num_src"]
            self.edge_index, self.x = graph["edge_index"], graph.get("x")
            names = folder / "nodes.json"
            self.names = [str(v) for v in range(self.num_nodes)]
            if names.is_file():
                self.names = list(json.loads(names.read_text(encoding="utf-8")))
            self.predictor: LinkPredictor | None = None
            if self.meta["model_config"] is not None:
                width = None if self.x is None else self.x.size(1)
                settings = LinkModelConfig(**self.meta["model_config"])
                self.predictor = make_link_model(settings, self.num_nodes, width, int(self.meta["seed"]))
                self.predictor.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise RunError(f"{folder} is not a whole run: {reason}. Run link again, or restore it.") from error

    def score(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """The pairs with ``linked`` (whether the graph has the link already) and ``score``, higher for likelier links.

        Pairs are scored in the whole graph of the run, with the links of its validation and test.

        Args:
            pairs: The first two columns name nodes as the source did; between two kinds of nodes, the first column
                those of the first kind.

        Raises:
            UsageError: If there are fewer columns, or a pair names a node that the run does not know.
        """
        if pairs.shape[1] < 2 or pairs.empty:
            raise UsageError(f"pairs must have two columns and a row at least, got {list(pairs.shape)}.")
        ends = [self._nodes(pairs.iloc[:, side], side) for side in (0, 1)]
        asked = torch.from_numpy(np.stack(ends))
        lists = NeighborLists.from_edge_index(self.edge_index, self.num_nodes)
        if self.predictor is None:
            found = HEURISTICS[self.meta["model"]](lists, asked)
        else:
            both = torch.cat([self.edge_index, self.edge_index.flip(0)], dim=1)
            with torch.no_grad():
                self.predictor.eval()
                found = self.predictor.score(self.predictor.encode(self.x, both), asked)
        out: pd.DataFrame = pairs.iloc[:, :2].assign(linked=lists.linked(asked).numpy(), score=found.numpy())
        return out

    def _nodes(self, values: pd.Series[Any], side: int) -> np.ndarray:
        """The number of each node; with two kinds, among those of the column's kind."""
        first = 0 if self.num_src is None or side == 0 else self.num_src
        last = self.num_nodes if self.num_src is None or side == 1 else self.num_src
        known = pd.Index(self.names[first:last])
        found = known.get_indexer(pd.Index(values.astype(str)))
        lost = np.flatnonzero(found < 0)
        if len(lost):
            shown = first_three([str(values.iloc[i]) for i in lost[:3]])
            kind = "a node" if self.num_src is None else f"one of '{self.meta['kinds'][side]}'"
            raise UsageError(
                f"{len(lost):,} of {len(values):,} pairs name {kind} that the run does not know (first: {shown}). It "
                f"knows {len(known):,}."
            )
        return found + first


def _scores(
    score: Callable[[Tensor], Tensor], split: LinkSplit, phase: str, data: LinkData, metric: str
) -> dict[str, dict[str, float]]:
    """The metrics that the split has negatives enough for; of published ones, the publisher's own by its evaluator."""
    fewest = min(pairs.size(-1) for pairs in split.negatives[phase].values())
    wanted = dict.fromkeys([*METRICS, metric])
    found = score_split(score, split, phase, [m for m in wanted if (check_metric(m) or 0) <= fewest])
    if data.metric is not None and "official" in split.negatives[phase]:
        pos, pairs = score(split.positives[phase]).float(), split.negatives[phase]["official"]
        neg = score(pairs.flatten(1)).reshape(pairs.shape[1:]).float()
        said = evaluator(data.name).eval({"y_pred_pos": pos, "y_pred_neg": neg})
        key = {"mrr": "mrr_list", "auc": "rocauc"}.get(data.metric, data.metric)
        found["official"][f"ogb {data.metric}"] = float(torch.as_tensor(said[key]).double().mean())
    return found


def _on_device(split: LinkSplit, device: str) -> LinkSplit:
    if device == "cpu":
        return split
    return replace(
        split,
        graph={phase: edges.to(device) for phase, edges in split.graph.items()},
        positives={phase: links.to(device) for phase, links in split.positives.items()},
        negatives={
            phase: {kind: pairs.to(device) for kind, pairs in kinds.items()} for phase, kinds in split.negatives.items()
        },
        new=None if split.new is None else split.new.to(device),
    )


def _on_cpu(score: Callable[[Tensor], Tensor], device: str) -> Callable[[Tensor], Tensor]:
    return lambda pairs: score(pairs.to(device)).cpu()
