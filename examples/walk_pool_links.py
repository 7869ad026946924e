"""Do walks tell links from non-links before anything is learned?    python examples/walk_pool_links.py --nodes 300

Cuts the subgraph around links and non-links of a generated network, prints how likely a walk of each length is to go
from one end to the other without using the link, then trains WalkPool. `--figure FILE` draws the profiles.
"""

import argparse

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import degree, negative_sampling, to_undirected

from graphlearn.models import WalkPoolLinkPredictor
from graphlearn.ops import WalkProfile, list_softmax, pair_walks, walk_profile
from graphlearn.sampling import EnclosingSubgraph, LinkSubgraphLoader

LENGTHS = range(2, 9)


def network(num_nodes: int, generator: torch.Generator) -> Tensor:
    """People on a ring know some of those who live near them: friends of friends are often friends; ``[2, L]``."""
    src = torch.arange(num_nodes).repeat(4)
    dst = (src + torch.randint(1, 8, src.shape, generator=generator)) % num_nodes
    links = torch.stack([src, dst]).unique(dim=1)
    return links[:, torch.randperm(links.size(1), generator=generator)]


def uniform_walks(cutter: EnclosingSubgraph, links: Tensor) -> WalkProfile:
    """Profiles of the walk that steps to each neighbour alike."""
    b = cutter(links)
    prob, _ = list_softmax(torch.zeros(b.edge_index.size(1)), b.rowptr, b.edge_index[1], b.edge_mask)
    others = degree(b.edge_index[1], b.num_nodes)[b.candidate]  # with the link
    return walk_profile(pair_walks(prob, b.rowptr, b.edge_index[0], b.candidate, max(LENGTHS)), (1 / others).t())


def draw(profiles: dict[str, WalkProfile], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    parts = {
        "node_minus": "back to an end",
        "link_minus": "from one end to the other",
        "graph": "closed walks, link added",
    }
    for axis, (part, title) in zip(axes, parts.items(), strict=True):
        for (name, profile), colour in zip(profiles.items(), ("tab:blue", "tab:orange"), strict=True):
            low, middle, high = getattr(profile, part).quantile(torch.tensor([0.25, 0.5, 0.75]), dim=0)
            axis.plot(LENGTHS, middle, "o-", color=colour, label=name)
            axis.fill_between(LENGTHS, low, high, color=colour, alpha=0.2)
        axis.set(title=title, xlabel="length of the walk")
    axes[0].legend(title="median, quartiles")
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--figure")
    args = parser.parse_args()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    links = network(args.nodes, generator)
    others = negative_sampling(to_undirected(links), args.nodes, links.size(1))
    held = links.size(1) // 10  # hidden from the graph
    graph = Data(x=torch.ones(args.nodes, 4), edge_index=to_undirected(links[:, held:]), num_nodes=args.nodes)
    cutter = EnclosingSubgraph(graph, num_hops=2)

    profiles = {"links": uniform_walks(cutter, links[:, :held]), "non-links": uniform_walks(cutter, others[:, :held])}
    for t, tau in enumerate(LENGTHS):
        shares = (f"{name} {p.link_minus[:, t].mean():.4f}" for name, p in profiles.items())
        print(f"walks of length {tau} from one end to the other:", *shares, sep="   ")
    if args.figure:
        draw(profiles, args.figure)

    y = (torch.arange(2 * held) < held).float()
    test = LinkSubgraphLoader(cutter, torch.cat([links[:, :held], others[:, :held]], dim=1), y)
    pairs = torch.cat([links[:, held:], others[:, held:]], dim=1)
    labels = (torch.arange(pairs.size(1)) < pairs.size(1) // 2).float()
    train = LinkSubgraphLoader(cutter, pairs, labels, shuffle=True, drop_last=True, generator=generator)
    model = WalkPoolLinkPredictor(4, 16)

    def scores(b: Data) -> Tensor:
        return model(b.x, b.edge_index, b.batch, b.candidate, b.edge_mask, rowptr=b.rowptr)

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    for _ in range(3):
        for b in train:
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(scores(b), b.y).backward()
            optimizer.step()
    model.eval()
    score = torch.cat([scores(b).detach() for b in test])
    print(f"AUC on hidden links after three passes: {roc_auc_score(y, score):.3f}")


if __name__ == "__main__":
    main()
