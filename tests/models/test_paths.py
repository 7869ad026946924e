"""The ways inside trees, against a walk that follows each of them on its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from little_shop import MODEL, open_tables, tables
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.graph import build_graph, fit_statistics
from graphlearn.models.paths import PathScorer, Reached, hops_to
from graphlearn.models.rdl import RelationalEncoder, edge_types_of
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.training import Seeds
from graphlearn.training.scoring import batch_rows, batch_times, seed_known

DAY = 86_400_000_000
Way = tuple[int, int, float, float]


class Tree:
    """Trees of customers in the little shop, with vectors of rows and ages as the encoder gives them."""

    def __init__(self, num_neighbors: tuple[int, ...], seeds: int = 40) -> None:
        db = open_tables(tables())
        self.graph = build_graph(db)
        torch.manual_seed(0)
        config = replace(MODEL, num_neighbors=num_neighbors)
        encoder = RelationalEncoder(db.schema, fit_statistics(db), "customers", config).eval()
        time = 1_636_000_000_000_000 - 5 * DAY * torch.arange(seeds)
        asked = Seeds("customers", torch.arange(seeds), time, time)
        sampler = TemporalNeighborSampler(self.graph, encoder.fan_out)
        self.batch = sampler.sample("customers", asked.index, asked.input_time, seed_time=asked.seed_time)
        self.batch.seed_known = seed_known(self.graph, asked)
        self.edge_types, self.age_channels = encoder.edge_types, encoder.age.out_channels
        with torch.no_grad():
            self.x = encoder.encode_rows(batch_rows(self.graph, self.batch))
            self.age = encoder.look(self.batch, *batch_times(self.graph, self.batch)).age
            self.root = torch.randn(seeds, config.channels)

    def scorer(self, depth: int, item_table: str = "products") -> PathScorer:
        torch.manual_seed(1)
        made = PathScorer(self.root.size(1), self.age_channels, self.edge_types, item_table, depth)
        torch.nn.init.normal_(made.out.weight)
        return made


def walked(made: PathScorer, tree: Tree) -> list[Way]:
    """Every way from every root, one step after the other, with a state of its own."""
    batch: HeteroData = tree.batch
    found: list[Way] = []

    def walk(table: str, place: int, state: Tensor, hops: int) -> None:
        for edge_type in made.edge_types:
            source, _, destination = edge_type
            store = batch[edge_type]
            if destination != table or edge_type not in made._key or place + 1 >= len(store.rowptr) or not hops:
                continue
            for child in store.col[store.rowptr[place] : store.rowptr[place + 1]].tolist():
                key = made._table[source]
                x = tree.x[source][batch[source].inverse[child]]
                step = made.lin_edge[made._key[edge_type]](state) + made.lin_row[key](x)
                below = torch.relu(made.norm[key](step + made.lin_age[key](tree.age[source][child])))
                if source == made.item_table:
                    pull = made.out(below).clamp_max(30.0)
                    found.append((int(batch[source].batch[child]), int(batch[source].n_id[child]), *pull.tolist()))
                walk(source, child, below, hops - 1)

    for seed in range(len(tree.root)):
        walk("customers", seed, torch.relu(made.lin_root(tree.root[seed])), made.depth)
    return found


def nothing() -> Reached:
    """No way at all."""
    none = torch.zeros(0, dtype=torch.int64)
    return Reached(none, none, torch.zeros(0, 2), torch.zeros(0, 4), torch.zeros(0, 1))


def listed(reached: Reached) -> list[Way]:
    said = torch.cat([reached.pull, reached.weight], dim=1)
    columns = reached.seed.tolist(), reached.item.tolist(), *said.T.tolist()
    return list(zip(*columns, strict=True))


def assert_same_ways(found: list[Way], expected: list[Way]) -> None:
    def key(way: Way) -> tuple[int, int, float]:
        return way[0], way[1], round(way[2], 3)

    assert len(found) == len(expected)
    for mine, theirs in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(
    ("sizes", "item_table"), [((4, 3, 2), "products"), ((3, 2, 2, 2), "products"), ((3, 3, 2), "orders")]
)
@torch.no_grad()
def test_one_state_per_way(sizes, item_table):
    tree = Tree(sizes)
    made = tree.scorer(len(sizes), item_table)
    expected = walked(made, tree)
    assert len(expected) > 50
    assert_same_ways(listed(made(tree.batch, tree.root, tree.x, tree.age)), expected)


@torch.no_grad()
def test_an_item_is_there_once_for_each_way():
    tree = Tree((8, 4, 4))
    found = tree.scorer(3)(tree.batch, tree.root, tree.x, tree.age)
    assert len(found.seed) == tree.batch["products"].n_id.numel()
    pairs = torch.stack([found.seed, found.item], dim=1)
    assert len(torch.unique(pairs, dim=0)) < len(pairs)


def test_ways_that_cannot_reach_an_item_are_not_followed():
    """Of four hops, three lead to an item; one more is left for no way that goes back and forth."""
    tree = Tree((3, 2, 2, 2))
    made = tree.scorer(4)
    back = ("customers", "rev_customer_id", "orders")
    assert back in made._key
    assert back not in tree.scorer(3)._key
    steps: dict[str, int] = dict.fromkeys(made._key.values(), 0)
    for name, layer in made.lin_edge.items():
        layer.register_forward_hook(lambda _, __, out, name=name: steps.update({name: steps[name] + len(out)}))
    made(tree.batch, tree.root, tree.x, tree.age).pull.sum().backward()
    assert {edge for edge, name in made._key.items() if steps[name]} == {
        ("orders", "customer_id", "customers"),
        ("items", "order_id", "orders"),
        ("products", "rev_product_id", "items"),
    }
    assert made.lin_edge[made._key[back]].weight.grad is None
    assert bool(made.lin_root.weight.grad.isfinite().all())


@torch.no_grad()
def test_trees_without_items():
    tree = Tree((3, 2))
    for found in (
        tree.scorer(2)(tree.batch, tree.root, tree.x, tree.age),  # the items are three hops away
        nothing(),
    ):
        assert found.seed.shape == found.item.shape == (0,)
        assert found.pull.shape == (0, 2)
        assert torch.equal(found.scores(found.seed, found.item, (4, 5)), torch.zeros(4, 5))


def test_hops_to_a_table():
    edges = edge_types_of(open_tables(tables()).schema)
    assert hops_to("products", edges) == {"products": 0, "items": 1, "orders": 2, "customers": 3}
    assert hops_to("customers", edges) == {"customers": 0, "orders": 1, "items": 2, "products": 3}
    assert hops_to("a", [("a", "x", "b"), ("c", "y", "d")]) == {"a": 0, "b": 1}
    assert hops_to("a", []) == {"a": 0}


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 40), st.integers(1, 4), st.integers(1, 5))
def test_scores_of_pairs_equal_a_loop(seed, ways, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    row = torch.randint(rows, (ways,), generator=generator)
    column = torch.randint(columns + 1, (ways,), generator=generator)  # the last one: not asked about
    pull = torch.randn(ways, 2, generator=generator, dtype=torch.float64) * 3
    found = replace(nothing(), pull=pull).scores(row, column, (rows, columns))
    expected = torch.zeros(rows, columns, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            mine = pull[(row == i) & (column == j)].exp().sum(dim=0)
            expected[i, j] = (1 + mine[0]).log() - (1 + mine[1]).log()
    torch.testing.assert_close(found, expected)


def test_the_strongest_pull_is_a_number():
    tree = Tree((4, 3, 2), seeds=3)
    made = tree.scorer(3)
    torch.nn.init.constant_(made.out.bias, 1e6)
    found = made(tree.batch, tree.root, tree.x, tree.age)
    at = torch.zeros_like(found.seed)
    assert bool(found.scores(found.seed, at, (3, 1)).isfinite().all())


def test_reset_parameters_starts_again():
    made = Tree((3, 2, 2), seeds=2).scorer(3)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(5)
    made.reset_parameters()
    after = made.state_dict()
    assert all(not bool((after[name] == 7).any()) for name in before)
    torch.manual_seed(5)
    made.reset_parameters()
    assert all(torch.equal(after[name], value) for name, value in made.state_dict().items())


def test_what_all_ways_of_a_source_say_together():
    generator = torch.Generator().manual_seed(0)
    seed = torch.tensor([0, 0, 2, 2, 2])
    state, weight = torch.randn(5, 3, generator=generator), torch.randn(5, 1, generator=generator)
    found = replace(nothing(), seed=seed, item=seed, state=state, weight=weight).together(4)
    for source in range(4):
        mine = seed == source
        share = weight[mine].exp()
        torch.testing.assert_close(found[source], (share * state[mine]).sum(dim=0) / (1 + share.sum()))
    assert not found[1].any()
