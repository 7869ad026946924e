"""How small can a GNN get, and where do its bits go? LPGNAS chooses the architecture and the bits of each part at once.

A graph is generated whose classes show in features and neighbours. A network of the size that one would take by hand is
trained in float32; then two searches run, one that hardly minds bytes and one that does. What is chosen is trained from
scratch, with its rounding, and stored in integers. The account says what each part was given and what it takes.

    python examples/search_precision.py
"""

from __future__ import annotations

import argparse
import json

import torch
from torch_geometric.data import Data

from graphlearn.compress.lpgnas import LPGNAS, Architecture, BlockChoice, QuantSpace, SearchSpace
from graphlearn.compress.quantize import convert, size_report

SPACE = SearchSpace(
    attention=("none", "gcn", "gat"),
    aggregator=("sum", "mean"),
    activation=("relu", "elu"),
    heads=(1, 4),
    hidden=(8, 32),
)
FEATURES = ("int4", "int8", "float")
QUANT = QuantSpace(("ternary", "int4", "int8"), FEATURES, ("int8",), FEATURES, FEATURES, FEATURES)


def generated(nodes: int, classes: int = 4, channels: int = 64) -> Data:
    """Features that hint at the class, and edges of which most join nodes of one class."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, classes, (nodes,), generator=generator)
    x = torch.randn(nodes, channels, generator=generator)
    x[torch.arange(nodes), y] += 1.0
    pairs = torch.randint(0, nodes, (2, 12 * nodes), generator=generator)
    kept = (y[pairs[0]] == y[pairs[1]]) | (torch.rand(pairs.size(1), generator=generator) < 0.15)
    edges = torch.cat([pairs[:, kept], pairs[:, kept].flip(0)], dim=1)
    part = torch.rand(nodes, generator=generator)
    return Data(
        x=x, y=y, edge_index=edges, train_mask=part < 0.6, val_mask=(part >= 0.6) & (part < 0.8), test_mask=part >= 0.8
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    data = generated(args.nodes)

    floats = dict.fromkeys(("weight", "input", "attention", "message", "aggregate", "output"), "float")
    block = BlockChoice("gcn", "sum", "relu", 1, 64, norm=True, skip=True, bits=floats)
    by_hand = Architecture((block, block), {"weight": "float", "input": "float"})
    plain = LPGNAS()
    found = plain.retrain(data, chosen=by_hand, epochs=args.epochs)
    print(f"by hand, float32: {found.bytes:,} bytes, test accuracy {plain.score(found, data=data):.3f}")

    for weight in (0.01, 0.2):
        search = LPGNAS(SPACE, QUANT, size_weight=weight, epochs=args.epochs, warmup=args.epochs // 2, candidates=20)
        search.fit(data)
        found = search.retrain(epochs=args.epochs, finalists=2)
        print(f"\nweight of size {weight}: {found.bytes:,} bytes, test accuracy {search.score(found):.3f}")
        print(found)

    integers = convert(found.model)
    print(f"\nin integers: {size_report(integers).total:,} bytes; to be stored as JSON:")
    print(json.dumps(found.architecture.to_dict())[:100], "...")


if __name__ == "__main__":
    main()
