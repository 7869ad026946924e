"""A split that was published, with its negatives, as a :class:`LinkSplit`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graphlearn.sampling.link_split import PHASES, LinkSplit

VAL_SHARE = 0.05
"""Of the training links of a split that has none for validation."""


def given_link_split(
    given: Mapping[str, Tensor],
    num_nodes: int,
    generator: torch.Generator,
    *,
    num_src: int | None = None,
    test_graph: str = "train",
) -> LinkSplit:
    """The split of :attr:`LinkData.given`, its negatives under ``official``.

    It is taken as it is: links may come again (``repeats``), and negatives are not compared with links. Without links
    for validation, a random 5 % of the training links and of their negatives are.

    Args:
        given: Links and negatives by phase.
        num_nodes: Number of nodes.
        generator: To draw validation with.
        num_src: With two kinds of nodes, how many are of the first, which come first.
        test_graph: What messages pass along when test links are scored: the ``train`` links, or ``train+val``.

    Raises:
        ValueError: If a pair names a node that is not there, or a link joins a node with itself.
    """
    parts = dict(given)
    if "val" not in parts:
        for name in ("train", "train_neg"):
            pairs = parts[name]
            order = torch.randperm(pairs.size(1), generator=generator, device=generator.device).to(pairs.device)
            held = max(1, round(VAL_SHARE * pairs.size(1)))
            parts[name], parts[name.replace("train", "val")] = pairs[:, order[held:]], pairs[:, order[:held]]
    seen = [parts["train"]] if test_graph == "train" else [parts["train"], parts["val"]]
    graph = {"train": parts["train"], "val": parts["train"], "test": torch.cat(seen, dim=1)}
    return LinkSplit(
        num_nodes,
        {phase: torch.cat([edges, edges.flip(0)], dim=1) for phase, edges in graph.items()},
        {phase: parts[phase] for phase in PHASES},
        {phase: {"official": parts[f"{phase}_neg"]} for phase in PHASES[1:]},
        num_src=num_src,
        repeats=True,
    )
