"""The relational model: encode the rows that a seed may see, pass messages along foreign keys, read the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import Linear, Module, ModuleDict, ModuleList, Parameter
from torch_frame import TensorFrame, stype
from torch_geometric.data import HeteroData

from graphlearn.errors import check_positive, unknown_name
from graphlearn.graph.rows import RowWriter
from graphlearn.graph.statistics import Statistics
from graphlearn.nn.conv.temporal_sage import EdgeAges, TemporalSAGEConv
from graphlearn.nn.encoder.row import RowEncoder
from graphlearn.nn.encoder.seed_features import SeedFeatures
from graphlearn.nn.encoder.since import SinceEncoder
from graphlearn.nn.encoder.time import AgeEncoder
from graphlearn.nn.head.node import NodeHead
from graphlearn.ops.csr import gather_rows
from graphlearn.schema.schema import Schema
from graphlearn.typing import EdgeType, NodeType

EncoderFactory = Callable[[int, dict[str, Any], dict[Any, list[str]]], Module]


@dataclass(frozen=True)
class ModelConfig:
    """Settings of :class:`RelationalModel`, and how many of them there are.

    Attributes:
        channels: Size of every row's vector, a multiple of 4.
        num_neighbors: Newest neighbours per hop; its length is the number of layers.
        dropout: Share of hidden units zeroed in training.
        row_dropout: Share of seeds that do not see their own row in training. A row with a name or a key-like column
            tells which entity it is; a model that reads it learns the train labels of each entity by heart.
        period: The unit of ages in microseconds, 30 days by default; training sets it to the task's label window.
        members: How many of these models predict together, see :class:`~graphlearn.models.ensemble.Ensemble`.
        num_features: Aggregates that each seed brings along, see :class:`~graphlearn.nn.SeedFeatures`.
        feature_dropout: Share of these zeroed in training, if more than ``dropout``. Aggregates are many and alike: a
            network that could count on each of them would learn few labels by heart.
        aggr: How neighbours are pooled whatever their age: ``"mean"``, or ``"gnp"``, a norm whose kind is learned.
    """

    channels: int = 32
    num_neighbors: tuple[int, ...] = (16, 8)
    dropout: float = 0.3
    row_dropout: float = 0.5
    period: int = 30 * 86_400_000_000
    members: int = 1
    num_features: int = 0
    feature_dropout: float = 0.5
    aggr: str = "mean"

    def __post_init__(self) -> None:
        check_positive(channels=self.channels, period=self.period, members=self.members)
        check_aggr(self.aggr)
        if not self.num_neighbors or min(self.num_neighbors) < -1:
            raise ValueError(
                f"'num_neighbors' must hold a number for each hop, at least one, -1 for all; got {self.num_neighbors}."
            )
        for name in ("dropout", "row_dropout", "feature_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"'{name}' must be in [0, 1), got {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


#: Poolings that ``aggr`` of :class:`ModelConfig` names.
AGGRS = ("mean", "gnp")


def check_aggr(name: str) -> None:
    """Raises :class:`UnknownNameError` if there is no such pooling."""
    if name not in AGGRS:
        raise unknown_name("aggregation", name, AGGRS)


Lists: TypeAlias = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Seen:
    """What of a batch depends on no weights.

    Attributes:
        age: Per table the age of each copy of a row, ``[n, age_channels]``.
        stale: How old the newest thing is that each seed may see, ``[B, age_channels]``.
        layers: For each layer the lists of each edge type, and what their ages say.
    """

    age: dict[NodeType, Tensor]
    stale: Tensor
    layers: list[tuple[dict[EdgeType, Lists], dict[EdgeType, EdgeAges]]]


#: Columns of the age vector that weigh groups of channels: half-lives of 16, 4 and 1 periods.
_MEMORY = (6, 4, 2)
_US_PER_DAY = 86_400_000_000


class RelationalEncoder(Module):
    r"""Turns seeds into vectors, from the trees that :class:`~graphlearn.sampling.TemporalNeighborSampler` draws.

    1. Each *distinct* row of the batch is encoded once: ``x = encoder[table](rows)``.
    2. Each copy of a row in a tree has an age, ``seed_time - time`` of its seed, in periods: decays with half-lives
       from half a period to 128 periods.
    3. One :class:`TemporalSAGEConv` per hop, computed only for the levels that later layers read. The outermost
       copies are never materialised: the first layer gathers straight from the distinct rows.
    4. To the seed's vector is added how long before ``seed_time`` the dates of its row were (:class:`SinceEncoder`),
       the staleness ``seed_time - input_time``, and the seed's aggregates, if it has any.

    Source: Fey et al., "Relational Deep Learning", arXiv:2312.04615. Differs in the row encoder, the ages, the mean
    with counts, residuals, and in encoding each row once.

    Args:
        schema: Tables and keys.
        statistics: Of the rows, as fitted when the graph was built.
        entity_table: Table of the seeds.
        config: Sizes.
        encoder: Makes the row encoder of a table from (channels, col_stats, col_names_dict); any module that
            maps a ``TensorFrame`` to ``[R, channels]``. Default :class:`RowEncoder`.
    """

    def __init__(
        self,
        schema: Schema,
        statistics: Statistics,
        entity_table: str,
        config: ModelConfig,
        *,
        encoder: EncoderFactory | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        tables = list(schema.tables)
        self._key = {name: f"t{i}" for i, name in enumerate(tables)}  # names of modules must not hold dots
        self.edge_types = edge_types_of(schema)
        self.fan_out: dict[EdgeType, Sequence[int]] = {
            edge_type: _fan_out(edge_type, entity_table, config.num_neighbors) for edge_type in self.edge_types
        }
        self.encoder = ModuleDict()
        dates: list[str] = []
        for name in tables:
            tf, col_stats = RowWriter(statistics.tables[name], 0).finish()
            self.encoder[self._key[name]] = (
                RowEncoder(
                    config.channels,
                    col_stats,
                    tf.col_names_dict,
                    time_col=schema.tables[name].time_col,
                )
                if encoder is None
                else encoder(config.channels, col_stats, tf.col_names_dict)
            )
            if name == entity_table:
                dates = list(tf.col_names_dict.get(stype.timestamp, ()))
        # The row's own time is left out: its age is there already, and 0 for a row without a time.
        self._dates = [i for i, name in enumerate(dates) if name != schema.tables[entity_table].time_col]
        self.since = SinceEncoder(config.channels, len(self._dates)) if self._dates else None
        days = config.period / _US_PER_DAY
        self.age = AgeEncoder(0.5 * days, 128 * days, num_decays=9)
        self.stale = Linear(self.age.out_channels, config.channels)
        self.unseen = Parameter(torch.zeros(config.channels))
        self.convs = ModuleList(
            TemporalSAGEConv(
                config.channels,
                self.age.out_channels,
                self.edge_types,
                memory=_MEMORY,
                dropout=config.dropout,
                aggr=config.aggr,
            )
            for _ in config.num_neighbors
        )
        self.features = (
            SeedFeatures(config.num_features, config.channels, dropout=max(config.dropout, config.feature_dropout))
            if config.num_features
            else None
        )

    def encode_rows(self, rows: dict[NodeType, TensorFrame]) -> dict[NodeType, Tensor]:
        """Per table a vector for each distinct row, ``[R, channels]``."""
        # Under autocast an encoder may give fewer digits than the ages that weigh its rows have.
        return {name: self.encoder[self._key[name]](tf).to(self.unseen.dtype) for name, tf in rows.items()}

    def vectors(
        self, batch: HeteroData, rows: dict[NodeType, TensorFrame], x: dict[NodeType, Tensor], seen: Seen
    ) -> Tensor:
        """The vector of each seed, from those of the distinct rows.

        Args:
            batch: From the sampler, with ``seed_known`` bool ``[B]``: whether the seed's own row may be seen; and with
                ``features``, float ``[B, num_features]``, if the model takes any.
            rows: Per table the distinct rows of the batch, in the order of ``batch[table].rows``.
            x: What :meth:`encode_rows` gives for them.
            seen: What :meth:`look` gives for this batch.

        Shapes:
            - returns ``[B, channels]``
        """
        inverse = {name: batch[name].inverse for name in x}
        depth = len(self.convs)
        levels = {name: batch[name].num_sampled_nodes for name in x}
        h = {name: gather_rows(x[name], inverse[name][: sum(levels[name][:depth])]) for name in x}
        size = len(batch.seed_time)
        stale = self.stale(seen.stale)
        seeds = h[batch.seed_type]
        own = seeds[:size]
        shown = stale
        if self.training and self.config.row_dropout > 0:
            hidden = torch.rand(size, 1, device=own.device) < self.config.row_dropout
            own = torch.where(hidden, self.unseen, own)
        if self.since is not None:  # also where the row is hidden: an age tells less of who it is than a date does
            own_dates = rows[batch.seed_type].feat_dict[stype.timestamp][inverse[batch.seed_type][:size]]
            shown = stale + self.since(own_dates[:, self._dates], batch.seed_time)
        h[batch.seed_type] = torch.cat([own + shown, seeds[size:]])
        for layer, conv in enumerate(self.convs):
            keep = depth - layer  # destinations: levels 0 .. keep - 1
            csr, ages = seen.layers[layer]
            inner = {name: value[: sum(levels[name][:keep])] for name, value in h.items()}
            h = conv(x if layer == 0 else h, seen.age, inner, csr, ages=ages)
        # Of a seed whose row is newer than what it may see, nothing is known but that.
        known = batch.seed_known.unsqueeze(-1)
        vector = torch.where(known, h[batch.seed_type][:size], self.unseen + stale)
        if self.features is not None:
            vector = vector + self.features(batch.features)
        return vector

    def fit_features(self, x: Tensor) -> None:
        """Takes the scale of the aggregates from those of the train rows ``[N, F]``, if the model takes any."""
        if self.features is not None:
            self.features.fit(x)

    def look(
        self, batch: HeteroData, times: dict[NodeType, Tensor], dated: dict[NodeType, Tensor] | None = None
    ) -> Seen:
        """What of a batch depends on no weights; models of the same task and sizes can share it."""
        age = {name: self._ages(batch, name, times.get(name), (dated or {}).get(name)) for name in self._key}
        depth = len(self.convs)
        layers: list[tuple[dict[EdgeType, Lists], dict[EdgeType, EdgeAges]]] = []
        for layer in range(depth):
            csr, ages = {}, {}
            for edge_type in self.edge_types:
                source, _, destination = edge_type
                num_dst = sum(batch[destination].num_sampled_nodes[: depth - layer])
                col = batch[edge_type].col[: sum(batch[edge_type].num_sampled_edges[: depth - layer])]
                rowptr = batch[edge_type].rowptr[: num_dst + 1]
                csr[edge_type] = (rowptr, batch[source].inverse[col] if layer == 0 else col, col)
                if layer > 0:
                    ages[edge_type] = layers[0][1][edge_type].first(num_dst, len(col))
            conv = self.convs[0]
            assert isinstance(conv, TemporalSAGEConv)
            layers.append((csr, ages or conv.edge_ages(age, csr)))
        return Seen(age, self.age(batch.seed_time - batch.input_time), layers)

    def _ages(self, batch: HeteroData, name: NodeType, time: Tensor | None, dated: Tensor | None) -> Tensor:
        store = batch[name]
        if time is None:  # a row without a time is as if it were from now: it is part of what is known
            return self._age(torch.zeros_like(store.inverse))
        # A seed may be newer than what it is allowed to see; its own age is then 0, not negative.
        age = (batch.seed_time[store.batch] - time[store.inverse]).clamp_min(0)
        return self._age(age if dated is None else age * dated[store.inverse])

    def _age(self, age: Tensor) -> Tensor:
        vectors: Tensor = self.age(age)
        return vectors


class RelationalModel(RelationalEncoder):
    r"""Predicts for seeds from what :class:`RelationalEncoder` says of them.

    Source: Fey et al., "Relational Deep Learning", arXiv:2312.04615.

    Args:
        schema: Tables and keys.
        statistics: Of the rows, as fitted when the graph was built.
        entity_table: Table of the seeds.
        task_type: Kind of task, see :class:`NodeHead`.
        config: Sizes.
        num_classes: Number of outputs.
        encoder: As of :class:`RelationalEncoder`.
    """

    def __init__(
        self,
        schema: Schema,
        statistics: Statistics,
        entity_table: str,
        task_type: str,
        config: ModelConfig,
        *,
        num_classes: int = 1,
        encoder: EncoderFactory | None = None,
    ) -> None:
        super().__init__(schema, statistics, entity_table, config, encoder=encoder)
        self.head = NodeHead(config.channels, task_type, num_classes=num_classes)

    def forward(
        self,
        batch: HeteroData,
        rows: dict[NodeType, TensorFrame],
        times: dict[NodeType, Tensor],
        dated: dict[NodeType, Tensor] | None = None,
        *,
        seen: Seen | None = None,
    ) -> Tensor:
        """The head's output for each seed.

        Args:
            batch: As of :meth:`RelationalEncoder.vectors`.
            rows: Per table the distinct rows of the batch, in the order of ``batch[table].rows``.
            times: Per table with a time column the time of each distinct row, int64 microseconds.
            dated: Per table that has rows without a time, whether each distinct row has one, bool.
            seen: What :meth:`look` gives for this batch, if it is already at hand.

        Shapes:
            - returns ``[B]`` or ``[B, C]``
        """
        x = self.encode_rows(rows)
        seen = self.look(batch, times, dated) if seen is None else seen
        out: Tensor = self.head(self.vectors(batch, rows, x, seen))
        return out


def edge_types_of(schema: Schema) -> list[EdgeType]:
    """The edge types of a schema's graph, sorted: each foreign key and its reverse."""
    found: list[EdgeType] = []
    for table in schema.tables.values():
        for key in table.fkeys:
            found += [(table.name, key.name, key.table), (key.table, f"rev_{key.name}", table.name)]
    return sorted(found)


def _fan_out(edge_type: EdgeType, entity_table: str, num_neighbors: tuple[int, ...]) -> list[int]:
    """Neighbours per hop through one edge type; hop 2 does not go from the seed's rows back to the seed.

    Those rows name the seed, so the second hop would put a copy of it under each of them: a large part of the tree,
    and nothing that the seed does not know.
    """
    source, relation, destination = edge_type
    back = source == entity_table and relation.startswith("rev_") and destination != entity_table
    return [0 if back and hop == 1 else size for hop, size in enumerate(num_neighbors)]
