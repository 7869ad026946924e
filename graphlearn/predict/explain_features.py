"""What each feature adds to a prediction of the trees, and which rows of the entity a feature was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.features.functions import Feature
from graphlearn.features.paths import Source
from graphlearn.models.gbdt import Trees
from graphlearn.predict.shown_rows import Pick

Floats = npt.NDArray[np.float64]

_NEWEST = ("last", "since last")
_OLDEST = ("first", "since first")
_POINTS = 16
"""Places between the start and the prediction at which the slope of a probability is taken; 16 are exact to 1e-10."""


def tree_effects(trees: Sequence[Trees], values: npt.NDArray[np.float32], output: int | None) -> tuple[Floats, Floats]:
    r"""What each feature adds to the mean prediction of ``trees``, in its unit: TreeSHAP, exact and additive.

    .. math:: \hat{y}_i = b_i + \sum_f e_{if}

    TreeSHAP gives what each feature adds to the trees' sums, :math:`m = m_0 + \sum_f \phi_f`. Of a value these are the
    effects. A probability is :math:`p(m)`, and :math:`e_f = \sum_k \phi_{fk} \int_0^1 \partial p / \partial m_k
    (m_0 + a (m - m_0))\, da`: the change along the straight way from :math:`m_0` to m, divided in the ratio of the
    :math:`\phi`.

    Source: Lundberg et al., "Consistent Individualized Feature Attribution for Tree Ensembles", arXiv:1802.03888.

    Args:
        trees: The members, whose predictions are averaged.
        values: Features ``[N, F]``.
        output: Which of several outputs, or None.

    Returns:
        Where the predictions start, ``[N]``, and the effects, ``[N, F]``.
    """
    start, effects = np.zeros(len(values)), np.zeros(values.shape)
    for member in trees:
        base, found = _effects(member, values, output)
        start += base / len(trees)
        effects += found / len(trees)
    return start, effects


def _effects(trees: Trees, values: npt.NDArray[np.float32], output: int | None) -> tuple[Floats, Floats]:
    several = len(trees.boosters) > 1
    booster = trees.boosters[output or 0] if several else trees.boosters[0]
    parts = np.asarray(booster.predict(values, pred_contrib=True, num_threads=1), dtype=np.float64)
    shap = parts.reshape(len(values), -1, values.shape[1] + 1)  # [N, K, F + 1], the last of them m_0
    phi, first = shap[:, :, :-1], shap[:, :, -1]
    if "regression" in trees.task_type:
        return first[:, 0], phi[:, 0]
    total = phi.sum(axis=2)  # [N, K]
    place, weight = np.polynomial.legendre.leggauss(_POINTS)
    way = first[:, :, None] + total[:, :, None] * (place + 1) / 2  # [N, K, points]
    chosen = 0 if several or output is None else output
    p = _probability(way)
    slope = -p[:, chosen : chosen + 1] * p
    slope[:, chosen] += p[:, chosen]
    if way.shape[1] == 1:
        slope = p * (1 - p)
    slope = (slope * weight / 2).sum(axis=2)  # [N, K]
    return _probability(first[:, :, None])[:, chosen, 0], (phi * slope[:, :, None]).sum(axis=1)


def _probability(m: Floats) -> Floats:
    """Of the sums ``[N, K, *]`` the sigmoid if there is one, else the softmax over K."""
    if m.shape[1] == 1:
        return 1 / (1 + np.exp(-m))
    e = np.exp(m - m.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Behind:
    """The rows of one source that an entity sees, oldest first.

    Attributes:
        node: Rows of the source's table, int64 ``[K]``.
        time: Since when each is known, itself and the rows between it and the entity, int64 ``[K]``.
    """

    node: Tensor
    time: Tensor


def rows_behind(graph: HeteroData, source: Source, entity: int, input_time: int) -> Behind | None:
    """The rows that features of ``source`` are made from, or None if they are not the entity's own.

    Only rows that name the entity, or name rows that do, are the entity's own; what others did, past labels, and the
    entity's own row are not asked for.
    """
    if source.hub.kind != "entity" or source.labels or source.is_own:
        return None
    table = source.hub.table
    node = torch.tensor([entity])
    time = node.new_full((1,), torch.iinfo(torch.int64).min)
    for hop in source.path:
        store = graph[hop.table, hop.key, table]
        start, stop = store.rowptr[node], store.rowptr[node + 1]
        count = stop - start
        owner = torch.repeat_interleave(torch.arange(node.numel()), count)
        within = torch.arange(int(count.sum())) - (count.cumsum(0) - count)[owner]
        node, time = store.col[start[owner] + within].long(), time[owner]
        table = hop.table
        if "time" in graph[table]:
            dated = node >= graph[table].num_undated
            time = torch.where(dated, torch.maximum(time, graph[table].time[node]), time)
    seen = time <= input_time
    node, time = node[seen], time[seen]
    order = torch.argsort(time, stable=True)
    return Behind(node[order], time[order])


def share_of_rows(feature: Feature, behind: Behind, input_time: int) -> Tensor:
    """Which part of a feature each row has: all of a last or first value, else equal parts; zeros outside its window.

    Shapes:
        - returns ``[K]`` float64, summing to 1, or to 0 if the window is empty
    """
    inside = torch.ones_like(behind.time, dtype=torch.bool)
    if feature.window is not None:
        inside &= behind.time > input_time - feature.window
    place = inside.nonzero().flatten()
    if feature.rows is not None:
        place = place[-feature.rows :]
    if feature.function in _NEWEST:
        place = place[-1:]
    elif feature.function in _OLDEST:
        place = place[:1]
    share = torch.zeros(behind.time.numel(), dtype=torch.float64)
    share[place] = 1 / max(place.numel(), 1)
    return share


def rows_of_features(
    graph: HeteroData, plan: Sequence[Feature], effects: Floats, entity: int, input_time: int, top: int
) -> list[Pick]:
    """The rows that the features were made from, each with its parts of their effects, at most ``top`` per direction.

    A cell's attribution is its part of the features of that column. The direction that weighs more stands first.

    Args:
        graph: The graph.
        plan: The features.
        effects: What each adds, ``[F]``.
        entity: The entity's node.
        input_time: The newest time that it sees.
        top: Most rows of each direction.
    """
    totals: dict[str, Tensor] = {}
    columns: dict[str, dict[str, Tensor]] = {}
    for source in dict.fromkeys(feature.source for feature in plan if feature.source is not None):
        behind = rows_behind(graph, source, entity, input_time)
        if behind is None or not behind.node.numel():
            continue
        name = source.table
        total = totals.setdefault(name, torch.zeros(graph[name].num_nodes, dtype=torch.float64))
        for feature, effect in zip(plan, effects.tolist(), strict=True):
            if feature.source != source or effect == 0:
                continue
            part = effect * share_of_rows(feature, behind, input_time)
            total.index_add_(0, behind.node, part)
            if feature.value is not None and feature.value.column and not feature.value.via:
                of_table = columns.setdefault(name, {})
                cells = of_table.setdefault(feature.value.column, torch.zeros_like(total))
                cells.index_add_(0, behind.node, part)
    picks = []
    for name, total in totals.items():
        for node in total.nonzero().flatten().tolist():
            cells_of = {column: float(part[node]) for column, part in columns.get(name, {}).items() if part[node] != 0}
            picks.append(Pick(name, node, float(total[node]), None, cells_of))
    picks.sort(key=lambda pick: -abs(pick.attribution))
    sides = [[p for p in picks if p.attribution > 0][:top], [p for p in picks if p.attribution < 0][:top]]
    sides.sort(key=lambda side: -abs(sum(pick.attribution for pick in side)))
    return sides[0] + sides[1]
