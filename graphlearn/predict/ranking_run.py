"""A run that ranks: the best rows of another table for each entity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import UsageError
from graphlearn.graph.build import node_index
from graphlearn.graph.text import TextEncoder
from graphlearn.models.pair_baselines import PAIR_BASELINES, PairHistory
from graphlearn.models.ranker import Ranker
from graphlearn.models.rdl import EncoderFactory
from graphlearn.ops.lists import expand
from graphlearn.predict.entities import asked_of_graph, time_asked
from graphlearn.predict.ranking import make_ranker
from graphlearn.predict.run import Run, check_split
from graphlearn.predict.write import check_place, write_predictions
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.tasks.query_items import items_where, past_items
from graphlearn.tasks.ranking import RANKING_METRICS, mean_interval, ranking_scores
from graphlearn.tasks.times import TimeLike
from graphlearn.training.checkpoint import load_meta
from graphlearn.training.pairs import Pairs, by_time, split_pairs
from graphlearn.training.ranking import ItemFeatures, Scoring, judge, rank
from graphlearn.training.seeds import Seeds, make_seeds

#: Scores of baselines that are held at a time.
_HELD = 32 * 2**20


class RankingRun(Run):
    """A trained ranking; the arguments are those of :class:`Run`.

    Attributes:
        kind: ``two-tower``, ``id-gnn`` or ``fused``.
        ranker: The network.
    """

    ranker: Ranker

    def _load_network(self, weights: dict[str, Tensor]) -> None:
        self.ranker = make_ranker(self.schema, self.statistics, self.task, self.kind, self.model_config, self._encoder)
        self.ranker.load_state_dict(weights)
        self.ranker.to(self.device).eval()

    def evaluate(
        self, split: str = "test", db: Database | None = None, *, regime: str | None = None
    ) -> dict[str, float | str]:
        """Metrics at k over all items that exist, see :func:`~graphlearn.tasks.ranking.ranking_scores`.

        With the 95 % interval (``low``, ``high``) of the first, sources being resampled; ``rows``: sources;
        ``without``: those of which nothing came true, which no metric counts.
        """
        scored = self._judged(split, db, regime)
        found: dict[str, float | str] = dict(_summary(scored.own, scored.pairs))
        return {**found, "split": split, "regime": scored.regime, "trained_on": self._trained_on(split)}

    def compare(self, split: str = "test", db: Database | None = None, *, regime: str | None = None) -> pd.DataFrame:
        """The run beside the baselines, one row each, all on the same sources, items and times.

        The baselines know the labels whose outcome was known by the source's input time: how often each item came true,
        each counted half after eight label windows; how often for the source itself; and both, one after the other.
        """
        scored = self._judged(split, db, regime)
        found = {"this run": scored.own, **scored.baselines()}
        rows = [
            {"model": name, **_summary(values, scored.pairs), "regime": scored.regime} for name, values in found.items()
        ]
        table = pd.DataFrame(rows)
        counts = {"rows": len(scored.pairs), "without": rows[0]["without"], "trained_on": self._trained_on(split)}
        table.attrs |= counts
        return table[["model", *RANKING_METRICS, "regime", "low", "high"]]

    def predict(
        self,
        db: Database | None = None,
        *,
        at: TimeLike | None = None,
        entities: Iterable[object] | None = None,
        progress: Callable[[int, int], None] | None = None,
        to: str | Path | None = None,
        if_exists: str = "fail",
        candidates: str | None = None,
        exclude_seen: bool = False,
        top: int | None = None,
    ) -> pd.DataFrame:
        """The best items of each entity at a time; the arguments are those of :meth:`Run.predict`, and:

        Args:
            db, at, entities, progress, to, if_exists: As there.
            candidates: Which items may be named, as a condition, see :func:`~graphlearn.tasks.query_items.items_where`.
            exclude_seen: Leave out what the target of the query lists for the entity up to ``at``.
            top: How many; by default as the task says.

        Returns:
            pkey, seed_time, ``prediction``: the key of the best item, ``prediction(2)`` of the next, and so on; and
            their scores, ``score``, ``score(2)``, …. Missing where there are no more candidates.

        Raises:
            UsageError: As :meth:`Run.predict`; if ``top`` is more than there are items; or if the task is no query, and
                what was seen is asked for.
            QueryError: If ``candidates`` means nothing.
        """
        if db is None and self._db is None:
            with closing(self._database(None)) as own:
                return self.predict(
                    own, at=at, entities=entities, progress=progress, to=to, if_exists=if_exists,
                    candidates=candidates, exclude_seen=exclude_seen, top=top,
                )  # fmt: skip
        time = time_asked(self.task, at)
        db = self._database(db)
        if to is not None:
            check_place(to, if_exists, db)
        graph = self.graph(db)
        asked = asked_of_graph(self.task, db, graph, time, entities)
        assert asked.seeds is not None
        top = int(self.task.top or 1) if top is None else top
        size = graph[str(self.task.item_table)].num_nodes
        if not 1 <= top <= size:
            raise UsageError(f"the {top} best of '{self.task.item_table}' cannot be named: it has {size:,} rows.")
        values, items = self._ranked(db, graph, asked.seeds, top, candidates, exclude_seen, progress)
        table = self._named(graph, asked.pkey, asked.seed_time, values, items)
        table = table.sort_values(["seed_time", "pkey"], kind="stable", ignore_index=True)
        if to is not None:
            write_predictions(table, self, to, if_exists=if_exists, db=db)
        return table

    def predict_split(
        self, split: str = "test", db: Database | None = None, *, regime: str | None = None
    ) -> pd.DataFrame:
        """The same for the rows of a label table, in its order."""
        scored = self._judged(split, db, regime, judged=False)
        values, items = rank(scored.scoring, scored.pairs.seeds, int(self.task.top or 1))
        time = scored.pairs.seeds.seed_time.numpy()
        return self._named(scored.scoring.graph, scored.pkey, time, values, items)

    def _scoring(self, graph: HeteroData) -> Scoring:
        graph = graph.to(self.device)
        return Scoring(self.ranker, graph, ItemFeatures(graph, str(self.task.item_table), self.task.timedelta))

    def _ranked(
        self,
        db: Database,
        graph: HeteroData,
        seeds: Seeds,
        top: int,
        candidates: str | None,
        exclude_seen: bool,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[Tensor, Tensor]:
        task, item_table = self.task, str(self.task.item_table)

        def allowed(time: int) -> Tensor:
            mask = torch.zeros(graph[item_table].num_nodes, dtype=torch.bool)
            index = node_index(graph, item_table, items_where(db, task, str(candidates), time))
            mask[index[index >= 0]] = True
            return mask

        def seen(some: Seeds) -> tuple[Tensor, Tensor]:
            past = past_items(db, task, int(some.input_time[0]))
            known = make_seeds(graph, task, past["pkey"].combine_chunks(), torch.zeros(past.num_rows).long(), None)
            label = past["label"].combine_chunks()
            count = torch.from_numpy(pc.list_value_length(label).to_numpy().astype(np.int64))
            item = node_index(graph, item_table, pc.list_flatten(label))
            rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
            at = torch.full((graph[task.entity_table].num_nodes,), len(known))
            at[known.index] = torch.arange(len(known))
            owner, place = expand(torch.cat([rowptr, rowptr[-1:]]), at[some.index.cpu()])
            found = item[place] >= 0
            count = torch.bincount(owner[found], minlength=len(some))
            return torch.cat([count.new_zeros(1), count.cumsum(0)]), item[place][found]

        return rank(
            self._scoring(graph),
            seeds,
            top,
            candidates=None if candidates is None else allowed,
            exclude=seen if exclude_seen else None,
            progress=progress,
        )

    def _named(
        self, graph: HeteroData, pkey: pa.Array, seed_time: np.ndarray, values: Tensor, items: Tensor
    ) -> pd.DataFrame:
        """The table of predictions, with the items' keys."""
        columns: dict[str, Any] = {"pkey": pkey.to_pandas(), "seed_time": seed_time.astype("datetime64[us]")}
        keys = graph[str(self.task.item_table)].pkey
        for place in range(items.size(1)):
            there = items[:, place].numpy()
            number = "" if place == 0 else f"({place + 1})"
            columns[f"prediction{number}"] = keys.take(pa.array(there, mask=there < 0)).to_pandas()
            columns[f"score{number}"] = np.where(there < 0, np.nan, values[:, place].numpy())
        first = [name for name in columns if not name.startswith("score")]
        return pd.DataFrame(columns)[[*first, *(name for name in columns if name.startswith("score"))]]

    def _trained_on(self, split: str) -> bool:
        return split == "train" or (split == "val" and bool(self.meta["refit"]))

    def _judged(self, split: str, db: Database | None, regime: str | None, *, judged: bool = True) -> _Judged:
        regime = regime or self.regime
        check_split(split, regime)
        db = self._database(db)
        task = self.labelled_task(db)
        labels = task.label_table(split)
        graph = self.graph(db)
        pairs = split_pairs(graph, task, split, regime, labels=labels)
        scoring = self._scoring(graph)
        own = judge(scoring, pairs, int(task.top or 1)) if judged else {}
        self.task = task
        return _Judged(task, split, regime, scoring, pairs, labels["pkey"].combine_chunks(), own)


class _Judged:
    """The labelled sources of a split, and how the run ranks for them."""

    def __init__(
        self,
        task: Task,
        split: str,
        regime: str,
        scoring: Scoring,
        pairs: Pairs,
        pkey: pa.Array,
        own: dict[str, Tensor],
    ) -> None:
        self.task, self.split, self.regime, self.scoring = task, split, regime, scoring
        self.pairs, self.pkey, self.own = pairs, pkey, own

    def baselines(self) -> dict[str, dict[str, Tensor]]:
        """The metrics of each baseline, per source."""
        graph, task = self.scoring.graph.to("cpu"), self.task
        known = [s for s in ("train", "val", "test") if s in ("train", "val") or s == self.split]
        parts = [self.pairs if s == self.split else split_pairs(graph, task, s, self.regime) for s in known]
        size = graph[str(task.item_table)].num_nodes
        history = PairHistory.of(((p.seeds.index, p.seeds.seed_time, p.relevant) for p in parts), task.timedelta, size)
        empty = torch.full((len(self.pairs),), torch.nan, dtype=torch.float64)
        found = {name: {metric: empty.clone() for metric in RANKING_METRICS} for name in PAIR_BASELINES}
        for input_time, _, at in by_time(self.pairs.seeds):
            exists = self.scoring.existing(input_time).cpu()
            for part in torch.split(at, max(1, _HELD // max(size, 1))):
                pairs = self.pairs.take(part)
                for name, score in history.scores(pairs.seeds.index, input_time).items():
                    score = score.masked_fill(~exists, -torch.inf)
                    for metric, values in ranking_scores(score, pairs.relevant, int(task.top or 1)).items():
                        found[name][metric][part] = values
        return found


def _summary(values: dict[str, Tensor], pairs: Pairs) -> dict[str, float]:
    first = RANKING_METRICS[0]
    _, low, high = mean_interval(values[first], pairs.seeds.index.cpu())
    means = {name: float(value.nanmean()) for name, value in values.items()}
    rows = {"rows": len(pairs), "without": int(values[first].isnan().sum())}
    return {**means, **rows, "low": low, "high": high}


def load(
    folder: str | Path,
    *,
    encoder: EncoderFactory | None = None,
    text_encoder: TextEncoder | None = None,
    device: str = "cpu",
    db: Database | None = None,
) -> Run:
    """Reads a run folder; see :class:`Run`, and of a run that ranks :class:`RankingRun`."""
    task = load_meta(Path(folder)).get("task")
    manifest = task.get("manifest") if isinstance(task, dict) else None
    ranks = isinstance(manifest, dict) and manifest.get("task_type") == "recommendation"
    kind = RankingRun if ranks else Run
    return kind(folder, encoder=encoder, text_encoder=text_encoder, device=device, db=db)
