"""Training and scoring of rankings: batches share a time, so that one set of items serves all their sources."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.graph.degrees import decayed_degrees
from graphlearn.models.ranker import Ranker, Sources, sampled_softmax
from graphlearn.models.rdl import RelationalEncoder
from graphlearn.ops.csr_torch import entries_to_rows
from graphlearn.ops.lists import contains
from graphlearn.ops.ranking import top_k
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.schema import Schema
from graphlearn.tasks.ranking import RANKING_METRICS, Relevant, ranking_scores
from graphlearn.training.loop import TrainConfig
from graphlearn.training.pairs import Pairs, by_time
from graphlearn.training.scoring import batch_rows, batch_times, device_of, seed_known
from graphlearn.training.seeds import Seeds

#: Items drawn per step; as many or fewer are all there.
DRAWN_ITEMS = 4096
#: Sources of a batch when nothing is learned, and items of one.
_SCORED = 1024
#: Scores of all candidates that are held to be judged.
_HELD = 32 * 2**20
#: Half-lives of how often an item was named, in label windows.
_HALF_LIVES = (0.5, 2.0, 8.0, 32.0, math.inf)


class ItemFeatures:
    """How often the items of a graph were named by a time; the last times that were asked about are kept.

    Args:
        graph: The graph.
        item_table: The items' table.
        period: The unit of half-lives, microseconds.
    """

    def __init__(self, graph: HeteroData, item_table: str, period: int) -> None:
        self.graph, self.item_table = graph, item_table
        self.half_lives = [period * share for share in _HALF_LIVES]
        self._known: dict[int, Tensor] = {}

    @staticmethod
    def width(schema: Schema, item_table: str) -> int:
        """How many there are."""
        naming = [key for t in schema.tables.values() for key in t.fkeys if key.table == item_table]
        return len(naming) * len(_HALF_LIVES)

    def at(self, time: int) -> Tensor:
        """``[N, F]`` float32."""
        if time not in self._known:
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[time] = decayed_degrees(self.graph, self.item_table, time, self.half_lives).log1p()
        return self._known[time]


_KEPT = 256


class Scoring:
    """A model on a graph.

    Args:
        model: The model.
        graph: What it reads, on the model's device.
        features: Of the items.
    """

    def __init__(self, model: Ranker, graph: HeteroData, features: ItemFeatures) -> None:
        self.model, self.graph, self.features = model, graph, features
        self._of_sources = _sampler(graph, model.source)
        self._of_items = None if model.item is None else _sampler(graph, model.item, disjoint=False)

    def existing(self, time: int) -> Tensor:
        """Which items exist at a time, bool ``[N]``."""
        return existing_rows(self.graph, self.model.item_table, time).to(device_of(self.model))

    def item_vectors(self, items: Tensor, input_time: int, seed_time: int) -> Tensor:
        """What :meth:`Ranker.items` gives for some items at a time; zeros without towers."""
        model = self.model
        if model.item is None:
            return torch.zeros(len(items), 1, device=items.device)
        assert self._of_items is not None
        seeds = Seeds(model.item_table, items, torch.full_like(items, seed_time), torch.full_like(items, input_time))
        batch = _sample(self.graph, self._of_items, seeds)
        if model.item.features is not None:
            batch.features = self.features.at(input_time)[items]
        return model.items(batch, batch_rows(self.graph, batch), *batch_times(self.graph, batch))

    def all_items(self, input_time: int, seed_time: int) -> Tensor:
        """The same of all items, in parts."""
        count = self.graph[self.model.item_table].num_nodes
        parts = torch.split(torch.arange(count, device=device_of(self.model)), 16 * _SCORED)
        return torch.cat([self.item_vectors(part, input_time, seed_time) for part in parts])

    def sources(self, seeds: Seeds) -> Sources:
        """What :meth:`Ranker.sources` gives for some sources."""
        batch = _sample(self.graph, self._of_sources, seeds)
        return self.model.sources(batch, batch_rows(self.graph, batch), *batch_times(self.graph, batch))

    def source_vectors(self, seeds: Seeds) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """Of sources their vectors, and the scores of the items in their trees as a CSR matrix ``[S, N]``."""
        model = self.model
        found = self.sources(seeds)
        if found.reached is None:
            return found.vector, None
        width = self.graph[model.item_table].num_nodes
        key, pair = torch.unique(found.reached.seed * width + found.reached.item, return_inverse=True)
        row = key // width
        value = found.reached.scores(torch.zeros_like(pair), pair, (1, len(key)))[0] * found.gate[row, 0]
        count = torch.bincount(row, minlength=len(seeds))
        return found.vector, (torch.cat([count.new_zeros(1), count.cumsum(0)]), key % width, value)

    def scores(self, seeds: Seeds, items: Tensor) -> Tensor:
        """Of sources that share their times and vectors of all items, ``[S, N]``; -inf: not there at the input time."""
        vector, extra = self.source_vectors(seeds)
        score = vector @ items.t()
        if extra is not None:
            rowptr, col, value = extra
            score[entries_to_rows(rowptr, len(col)), col] += value
        return score.masked_fill_(~self.existing(int(seeds.input_time[0])), -torch.inf)

    def groups(self, seeds: Seeds, size: int) -> Iterator[tuple[Tensor, Tensor, Seeds]]:
        """(positions, vectors of all items, seeds) of parts of ``seeds`` that share their times."""
        for input_time, seed_time, at in by_time(seeds):
            items = self.all_items(input_time, seed_time)
            for part in torch.split(at, size):
                yield part, items, _some(seeds, part)


def existing_rows(graph: HeteroData, table: str, time: int) -> Tensor:
    """Which rows of a table exist at a time, bool ``[N]``; without a time they always do."""
    store = graph[table]
    if "time" not in store:
        return torch.ones(store.num_nodes, dtype=torch.bool)
    row = torch.arange(store.num_nodes, device=store.time.device)
    known: Tensor = (row < store.num_undated) | (store.time <= time)
    return known


def _some(seeds: Seeds, at: Tensor) -> Seeds:
    return replace(seeds, index=seeds.index[at], seed_time=seeds.seed_time[at], input_time=seeds.input_time[at])


def _sampler(graph: HeteroData, encoder: RelationalEncoder, *, disjoint: bool = True) -> TemporalNeighborSampler:
    return TemporalNeighborSampler(graph, encoder.fan_out, strategy="last", disjoint=disjoint)


def _sample(graph: HeteroData, sampler: TemporalNeighborSampler, seeds: Seeds) -> HeteroData:
    batch = sampler.sample(seeds.node_type, seeds.index, seeds.input_time, seed_time=seeds.seed_time)
    batch.seed_known = seed_known(graph, seeds)
    return batch


def judge(scoring: Scoring, pairs: Pairs, k: int) -> dict[str, Tensor]:
    """The metrics at k of each source, over all items that exist at its input time: float64 ``[S]`` on the CPU."""
    scoring.model.eval()
    pairs = Pairs(pairs.seeds.to(device_of(scoring.model)), pairs.relevant)
    found = {name: torch.full((len(pairs),), torch.nan, dtype=torch.float64) for name in RANKING_METRICS}
    size = max(1, min(_SCORED, _HELD // max(scoring.graph[scoring.model.item_table].num_nodes, 1)))
    with torch.inference_mode():
        for at, items, seeds in scoring.groups(pairs.seeds, size):
            score = scoring.scores(seeds, items)
            of_part = pairs.take(at.cpu()).relevant
            true = Relevant(of_part.rowptr.to(score.device), of_part.col.to(score.device))
            for name, values in ranking_scores(score, true, k).items():
                found[name][at.cpu()] = values.cpu()
    return found


def rank(
    scoring: Scoring,
    seeds: Seeds,
    k: int,
    *,
    candidates: Callable[[int], Tensor] | None = None,
    exclude: Callable[[Seeds], tuple[Tensor, Tensor]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """The k best items of each source and their scores, best first: float32 and int64 ``[S, k]`` on the CPU.

    Args:
        scoring: The model.
        seeds: The sources.
        k: How many items.
        candidates: Gives for a time which items may be named, bool ``[N]``, beside having to exist.
        exclude: Gives for sources the items that must not be named, as lists ``rowptr``, ``col``.
        progress: Called with (sources done, sources in all).

    Returns:
        Scores and rows of the item table; -inf and -1 where fewer than k are left.
    """
    scoring.model.eval()
    seeds = seeds.to(device_of(scoring.model))
    values = torch.full((len(seeds), k), -torch.inf)
    names = torch.full((len(seeds), k), -1, dtype=torch.int64)
    done = 0
    with torch.inference_mode():
        for at, items, part in scoring.groups(seeds, _SCORED):
            time = int(part.input_time[0])
            vector, extra = scoring.source_vectors(part)
            allowed = scoring.existing(time)
            if candidates is not None:
                allowed = allowed & candidates(time).to(allowed.device)
            if exclude is not None:
                rowptr, col = (lists.to(vector.device) for lists in exclude(part))
                extra = _merged(extra, rowptr, col)
            best, named = top_k(vector, items, k, extra=extra, candidates=allowed)
            values[at.cpu()], names[at.cpu()] = best.cpu(), named.cpu()
            done += len(at)
            if progress is not None:
                progress(done, len(seeds))
    return values, names


def _merged(extra: tuple[Tensor, Tensor, Tensor] | None, rowptr: Tensor, col: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entries of a matrix and -inf for those of some lists, as one matrix; a pair may be in it twice."""
    if extra is None:
        return rowptr, col, torch.full(col.shape, -torch.inf, device=col.device)
    never = extra[2].new_full(col.shape, -torch.inf)
    row = torch.cat([entries_to_rows(extra[0], len(extra[1])), entries_to_rows(rowptr, len(col))])
    order = row.argsort(stable=True)
    both = torch.cat([extra[1], col])[order], torch.cat([extra[2], never])[order]
    return extra[0] + rowptr, *both


def _some_of(items: Tensor, generator: torch.Generator) -> Tensor:
    """At most :data:`DRAWN_ITEMS` of them, sorted."""
    if len(items) <= DRAWN_ITEMS:
        return items
    drawn = torch.randperm(len(items), generator=generator)[:DRAWN_ITEMS]
    return items[drawn.to(items.device)].sort().values


def draw_weights(columns: Tensor, drawn: Tensor, count: int) -> Tensor:
    """For how many items each column stands in a sum over ``count`` items, of which ``drawn`` (sorted) were drawn.

    Log weights, -inf for columns that are there for another reason: then the sum is right in the mean over all draws.
    """
    share = math.log(max(count, 1) / max(len(drawn), 1))
    return torch.where(contains(drawn, columns), share, -torch.inf)


class PairLessons:
    """What a ranking is trained on, see :class:`~graphlearn.training.loop.Lessons`.

    A batch holds sources of one time, and items drawn from all that exist then: each stands for as many as were not
    drawn. Items in the trees of the batch's sources are drawn apart, as few others are as likely; those that came true
    are there in any case.

    Args:
        scoring: The model.
        train: With items that came true; sources without any are left out.
        val: Likewise, or None in a refit.
        config: Settings.
        top: Places that the metric looks at.
        longest_age: Train sources see rows up to a time drawn from this many microseconds before their own.
        age_step: Ages are multiples of this.
    """

    metric, higher = RANKING_METRICS[0], True

    def __init__(
        self,
        scoring: Scoring,
        train: Pairs,
        val: Pairs | None,
        config: TrainConfig,
        *,
        top: int,
        longest_age: int = 0,
        age_step: int = 1,
    ) -> None:
        self.scoring, self.val, self.config, self.top = scoring, val, config, top
        self.train = train.with_items()
        self.longest_age, self.age_step = longest_age, age_step
        self.judged = val is not None
        self.groups = [at for _, _, at in by_time(self.train.seeds)]

    def plan(self) -> tuple[int, int]:
        per_epoch = sum(math.ceil(len(at) / self.config.batch_size) for at in self.groups)
        steps = max(1, min(self.config.max_steps, per_epoch))
        return steps, max(self.config.epochs, math.ceil(self.config.min_steps / steps))

    def losses(self, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        batches: list[Tensor] = []
        for at in self.groups:
            number = math.ceil(len(at) / self.config.batch_size)
            batches += torch.split(at[torch.randperm(len(at), generator=generator)], math.ceil(len(at) / number))
        for i in torch.randperm(len(batches), generator=generator)[:steps].tolist():
            time = int(self.train.seeds.seed_time[batches[i][0]])
            ages = self.longest_age // self.age_step + 1
            age = int(torch.randint(ages, (1,), generator=generator)) * self.age_step
            pairs = self.train.take(batches[i])
            seeds = replace(pairs.seeds, input_time=torch.full_like(pairs.seeds.index, time - age))
            yield self.loss_of(Pairs(seeds, pairs.relevant), batches[i], generator)

    def loss_of(self, pairs: Pairs, at: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of a batch of sources that share their times; ``at`` are their positions in ``train``."""
        return self.label_loss(pairs, *self.scores(pairs, generator))

    def scores(self, pairs: Pairs, generator: torch.Generator, *also: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores ``[B, C]`` of the columns' items ``[C]``, sorted, and the logarithm of what each stands for.

        ``also``: items that are to have a column in any case.
        """
        scoring, device = self.scoring, device_of(self.scoring.model)
        input_time, seed_time = int(pairs.seeds.input_time[0]), int(pairs.seeds.seed_time[0])
        found = scoring.sources(pairs.seeds.to(device))
        there = scoring.existing(input_time).nonzero()[:, 0]
        drawn = _some_of(there, generator)
        near_items = drawn[:0] if found.reached is None else torch.unique(found.reached.item)
        near_drawn = _some_of(near_items, generator)
        columns = torch.unique(torch.cat([drawn, near_drawn, pairs.relevant.col.to(device), *also]))
        score = found.vector @ scoring.item_vectors(columns, input_time, seed_time).t()
        weight = draw_weights(columns, drawn, len(there))
        if found.reached is not None:
            at = torch.searchsorted(columns, found.reached.item).clamp_max(len(columns) - 1)
            at = torch.where(columns[at] == found.reached.item, at, len(columns))
            size = score.size(0), score.size(1)
            score = score + found.gate * found.reached.scores(found.reached.seed, at, size)
            near = torch.zeros(size[0], size[1] + 1, dtype=torch.bool, device=device)
            near[found.reached.seed, at] = True
            weight = torch.where(near[:, :-1], draw_weights(columns, near_drawn, len(near_items)), weight)
        return score, columns, weight

    def label_loss(self, pairs: Pairs, score: Tensor, columns: Tensor, weight: Tensor) -> Tensor:
        """How little of the softmax the items have that came true."""
        owner = entries_to_rows(pairs.relevant.rowptr, len(pairs.relevant.col)).to(score.device)
        place = torch.searchsorted(columns, pairs.relevant.col.to(score.device))
        true = torch.zeros_like(score, dtype=torch.bool)
        true[owner, place] = True
        return sampled_softmax(score, score[owner, place], owner, true, weight)

    def judge(self) -> tuple[float, float]:
        assert self.val is not None
        values = judge(self.scoring, self.val, self.top)[self.metric]
        known = values[~values.isnan()]
        if not len(known):
            return math.nan, 0.0
        return float(known.mean()), float(known.std(unbiased=False)) / math.sqrt(len(known))
