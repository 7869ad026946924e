"""A small graph whose classes show in features and neighbours, and the architectures that the tests draw."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from graphlearn.compress.lpgnas import QuantSpace, SearchSpace
from graphlearn.compress.lpgnas.space import decisions

NUM_NODES, CHANNELS = 60, 10


def make_graph(seed: int = 0) -> Data:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(NUM_NODES) % 3
    x = torch.randn(NUM_NODES, CHANNELS, generator=generator)
    x[torch.arange(NUM_NODES), y] += 1.5
    pairs = torch.randint(0, NUM_NODES, (2, 600), generator=generator)
    same = pairs[:, (y[pairs[0]] == y[pairs[1]]) & (pairs[0] != pairs[1])]
    edges = torch.cat([same, same.flip(0)], dim=1)
    part = torch.randperm(NUM_NODES, generator=generator) % 3
    return Data(x=x, y=y, edge_index=edges, train_mask=part == 0, val_mask=part == 1, test_mask=part == 2)


WIDE = SearchSpace(hidden=(8, 16))
"""Every kind of attention, aggregator and activation, in small."""

BITS = QuantSpace(("binary", "ternary", "Q1.3", "int4", "int8", "int16", "float"))

OPTIONS = decisions(WIDE, BITS, 2)


def random_places(seed: int, options=OPTIONS) -> dict[str, int]:
    generator = torch.Generator().manual_seed(seed)
    return {name: int(torch.randint(len(choices), (), generator=generator)) for name, choices in options.items()}
