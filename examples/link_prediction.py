"""How much of a link predictor's score is due to easy non-links?    python examples/link_prediction.py

Generates people with interests who know those who share them and live near, hides some of who knows whom, and scores a
GCN and three heuristics against pairs drawn at random and against pairs that look like links.
"""

import argparse

import torch
from torch import Tensor
from torch_geometric.nn import GCN

from graphlearn.models import LinkModel
from graphlearn.nn import MLPHead
from graphlearn.ops import adamic_adar, common_neighbors, resource_allocation
from graphlearn.sampling import random_link_split, with_negatives
from graphlearn.training.link import LinkTrainConfig, fit_links, heuristic_scores, predictor_scores, score_split


def network(num_nodes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Links ``[2, L]`` and features ``[N, 6]``: where on a ring somebody lives, and what interests them, with noise."""
    home = torch.rand(num_nodes, generator=generator)
    interest = torch.randint(4, (num_nodes,), generator=generator)
    far = (home[:, None] - home).abs()
    near = torch.exp(-torch.minimum(far, 1 - far) * 40)
    likely = near * torch.where(interest[:, None] == interest, 0.8, 0.1)
    links = (torch.rand(num_nodes, num_nodes, generator=generator) < likely).triu(1).nonzero().t()
    angle = 2 * torch.pi * home[:, None]
    x = torch.cat([angle.sin(), angle.cos(), torch.eye(4)[interest]], dim=1)
    return links, x + 0.3 * torch.randn(x.shape, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    links, x = network(args.nodes, generator)

    split = random_link_split(links, args.nodes, 0.05, 0.1, generator)  # uniform non-links come with it
    split = with_negatives(split, "hard", generator)
    sizes = ", ".join(f"{part.size(1)} to {phase}" for phase, part in split.positives.items())
    print(f"{args.nodes} people, {links.size(1)} links: {sizes}")

    model = LinkModel(GCN(x.size(1), 32, 2, out_channels=32), MLPHead(32, 32))
    state = fit_links(model, x, split, LinkTrainConfig(epochs=args.epochs), seed=0)
    print(f"best epoch {state.best_epoch} of {len(state.history)}, validation AUC {state.best_score:.3f}")

    ways = {"gcn": predictor_scores(model, x, split, "test")}
    for heuristic in (common_neighbors, adamic_adar, resource_allocation):
        ways[heuristic.__name__] = heuristic_scores(heuristic, split, "test")
    for name, way in ways.items():
        found = score_split(way, split, "test", ["auc", "hits@20"])
        easy, hard = found["uniform"], found["hard"]
        print(
            f"{name:<20} AUC {easy['auc']:.3f} against random pairs, {hard['auc']:.3f} against hard ones;"
            f"   Hits@20 {easy['hits@20']:.3f}, {hard['hits@20']:.3f}"
        )


if __name__ == "__main__":
    main()
