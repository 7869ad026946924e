"""Which links a model learns from, which choose it, and which it is scored on; and what graph it sees meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from graphlearn.errors import first_three, unknown_name
from graphlearn.ops.lists import contains
from graphlearn.ops.neighbors import NeighborLists, check_nodes
from graphlearn.sampling.free_pairs import FreePairs, undirected_pairs
from graphlearn.sampling.negative import check_times, former_links

PHASES = ("train", "val", "test")


@dataclass(frozen=True)
class LinkSplit:
    """Links for training, validation and test, the graph seen in each, and the negatives to score against.

    Links are undirected. That nothing is given away is checked when a split is made: no link of validation or test is
    in the graph or among the links of training, none of test in the graph of validation or test, in either direction.

    Attributes:
        num_nodes: Number of nodes.
        graph: Of each phase, the edges along which messages pass, in both directions, ``[2, E]`` int64.
        positives: Of each phase, the links to tell from others, each once, ``[2, L]`` int64.
        negatives: Of ``val`` and ``test``, by kind, pairs without a link: ``[2, M]`` that all links share, or
            ``[2, L, K]`` of each link. None for train, which draws its own.
        num_src: With two kinds of nodes, how many are of the first, which come first.
        repeats: Whether links that training knew may be asked for again, as over time they may: then links may be
            among those of a phase before, which is counted by :meth:`repeated`, not refused.
        new: Nodes that training must not know of, bool ``[N]``; None if there are none.
        notes: What there is to say about how it was made.

    Raises:
        ValueError: If a phase is missing, a shape is wrong, or a link is where it must not be, with the number of such
            links and the first three.
    """

    num_nodes: int
    graph: Mapping[str, Tensor]
    positives: Mapping[str, Tensor]
    negatives: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    num_src: int | None = None
    repeats: bool = False
    new: Tensor | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, parts in (("graph", self.graph), ("positives", self.positives)):
            if set(parts) != set(PHASES):
                raise ValueError(f"'{name}' must have the phases train, val and test, got {', '.join(parts)}.")
            for phase, pairs in parts.items():
                check_nodes(f"{name} of {phase}", pairs, self.num_nodes)
        for phase, links in self.positives.items():
            _refuse(links, links[0] == links[1], f"links of {phase} join a node with itself", "Leave them out.")
            if not self.repeats:
                _refuse(links, self._again(links), f"links of {phase} are there already", "Give each link once.")
        if self.repeats:
            return
        if self.new is not None:
            trained = torch.cat([self.positives["train"], self.graph["train"]], dim=1)
            _refuse(trained, self.new[trained].any(dim=0), "edges of training touch a new node", "Leave them out.")
        known = self.known()
        for phase, kinds in self.negatives.items():
            for kind, pairs in kinds.items():
                flat = pairs.flatten(1)
                what = f"{kind} negatives of {phase} are links"
                _refuse(flat, _among(known, flat, self.num_nodes), what, "Draw negatives that avoid split.known().")
        for phase in ("val", "test"):
            for earlier in PHASES[: PHASES.index(phase) + 1]:
                there = _among(self.graph[earlier], self.positives[phase], self.num_nodes)
                what = f"links of {phase} are in the graph of {earlier}"
                _refuse(self.positives[phase], there, what, "A model would be shown what it is asked for.")
            for earlier in PHASES[: PHASES.index(phase)]:
                there = _among(self.positives[earlier], self.positives[phase], self.num_nodes)
                what = f"links of {phase} are links of {earlier} too"
                _refuse(self.positives[phase], there, what, "Drop them, or set repeats=True if links come again.")

    def known(self) -> Tensor:
        """Every link of the split, ``[2, *]``: what negatives avoid."""
        return torch.cat([*self.positives.values(), *self.graph.values()], dim=1)

    def repeated(self, phase: str) -> int:
        """How many links of a phase training knew, in its graph or among its links."""
        seen = torch.cat([self.graph["train"], self.positives["train"]], dim=1)
        return int(_among(seen, self.positives[phase], self.num_nodes).sum())

    def lists(self, phase: str) -> NeighborLists:
        """The graph of a phase as heuristics take it."""
        return NeighborLists.from_edge_index(self.graph[phase], self.num_nodes)

    def _again(self, links: Tensor) -> Tensor:
        """Whether each link stands further in front, in either direction."""
        value, order = (links.min(dim=0).values * self.num_nodes + links.max(dim=0).values).sort(stable=True)
        again = torch.zeros_like(value, dtype=torch.bool)
        again[1:] = value[1:] == value[:-1]
        return torch.zeros_like(again).scatter_(0, order, again)


def random_link_split(
    edge_index: Tensor,
    num_nodes: int,
    val: float,
    test: float,
    generator: torch.Generator,
    *,
    num_src: int | None = None,
    test_graph: str = "train",
) -> LinkSplit:
    """Hides a random share of the links, and draws as many uniform negatives.

    Easy to learn, and optimistic where links form over time: what is asked for is spread among what is known.

    Args:
        edge_index: The graph; its edges count once, whichever direction they have and however often they are there.
        num_nodes: Number of nodes.
        val: Share of the links that choose a model, above 0.
        test: Share of the links that score it, above 0.
        generator: To draw with.
        num_src: With two kinds of nodes, how many are of the first, which come first.
        test_graph: What messages pass along when test links are scored: the ``train`` links, or ``train+val``.

    Raises:
        ValueError: If a share leaves train, val or test without links, fewer pairs without a link are left than
            negatives are drawn, or the edges are not ``[2, E]`` int64 between nodes.
        UnknownNameError: If there is no such ``test_graph``.
    """
    _check_test_graph(test_graph)
    check_nodes("edge_index", edge_index, num_nodes)
    links = undirected_pairs(edge_index, num_nodes)
    total = links.size(1)
    num_val, num_test = round(val * total), round(test * total)
    if not (val > 0 and test > 0 and num_val and num_test and num_val + num_test < total):
        raise ValueError(
            f"'val' {val} and 'test' {test} of {total:,} links give {num_val:,} and {num_test:,} links and leave "
            f"{total - num_val - num_test:,} to train on; each needs one at least. Take other shares."
        )
    order = torch.randperm(total, generator=generator, device=generator.device).to(links.device)
    parts = torch.split(links[:, order], [total - num_val - num_test, num_val, num_test], dim=1)
    split = _of_parts(parts, num_nodes, test_graph, num_src, generator)
    return _with_uniform(split, generator)


def temporal_link_split(
    edge_index: Tensor,
    time: Tensor,
    val_time: int,
    test_time: int,
    *,
    num_nodes: int,
    generator: torch.Generator,
    num_src: int | None = None,
    test_graph: str = "train",
    repeats: str = "drop",
) -> LinkSplit:
    """Trains on links up to ``val_time``, chooses on those up to ``test_time``, scores on later ones.

    Args:
        edge_index: Links with their times; a pair may be linked often.
        time: Of each, in the unit of both cuts.
        val_time: The last time of training.
        test_time: The last time of validation.
        num_nodes: Number of nodes.
        generator: To draw negatives with.
        num_src: With two kinds of nodes, how many are of the first, which come first.
        test_graph: As for :func:`random_link_split`.
        repeats: Pairs that were linked in a phase before: ``drop`` (only new links are asked for, ``notes`` says how
            many were left out) or ``keep``; then historical negatives are drawn too.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64;  ``time``: ``[E]`` int64

    Raises:
        ValueError: If the cuts leave a phase without links, fewer pairs without a link are left than negatives are
            drawn, or an argument is not as above.
        UnknownNameError: If there is no such ``test_graph`` or choice for ``repeats``.
    """
    _check_test_graph(test_graph)
    if repeats not in ("drop", "keep"):
        raise unknown_name("treatment of repeats", repeats, ("drop", "keep"))
    check_nodes("edge_index", edge_index, num_nodes)
    check_times(edge_index, time)
    if not val_time < test_time:
        raise ValueError(f"'val_time' {val_time} must lie before 'test_time' {test_time}.")
    when = (time <= val_time, (time > val_time) & (time <= test_time), time > test_time)
    parts = [undirected_pairs(edge_index[:, chosen], num_nodes) for chosen in when]
    notes = []
    if repeats == "drop":
        for i, phase in ((1, "val"), (2, "test")):
            seen = undirected_pairs(torch.cat(parts[:i], dim=1), num_nodes)
            again = contains(seen[0] * num_nodes + seen[1], parts[i][0] * num_nodes + parts[i][1])
            if bool(again.any()):
                notes.append(f"{int(again.sum()):,} of {len(again):,} links of {phase} were links before: left out")
            parts[i] = parts[i][:, ~again]
    for phase, part in zip(PHASES, parts, strict=True):
        if not part.size(1):
            raise ValueError(
                f"no link is left for {phase}: times run from {int(time.min()) if len(time) else '-'} to "
                f"{int(time.max()) if len(time) else '-'}, the cuts are {val_time} and {test_time}. Take other cuts."
            )
    split = _of_parts(tuple(parts), num_nodes, test_graph, num_src, generator, repeats=repeats == "keep")
    split = replace(_with_uniform(split, generator), notes=tuple(notes))
    if repeats == "drop":
        return split
    found = {}
    for phase, cut, until in (("val", val_time, test_time), ("test", test_time, None)):
        now = torch.ones_like(when[0]) if until is None else time <= until  # later links are not known yet
        gone = former_links(edge_index[:, now], time[now], cut, num_nodes)
        order = torch.randperm(gone.size(1), generator=generator, device=generator.device).to(gone.device)
        found[phase] = dict(split.negatives[phase])
        if gone.size(1):
            found[phase]["historical"] = gone[:, order[: split.positives[phase].size(1)]]
    return replace(split, negatives=found)


def new_node_split(
    edge_index: Tensor,
    num_nodes: int,
    val: float,
    test: float,
    generator: torch.Generator,
    *,
    held: float = 0.5,
    num_src: int | None = None,
) -> LinkSplit:
    """Hides nodes: training sees no edge of a new node; test asks for some of its links, given the others.

    A share of the nodes is new at validation and another at test. Of their links a share ``held`` is asked for; the
    rest joins the graph of that phase (and of later ones). Row 0 of a link that is asked for is a new node, and so is
    that of its negative, so that being new gives nothing away. A link between a node of validation and one of test
    counts as test.

    Args:
        edge_index: The graph; its edges count once, whichever direction they have and however often they are there.
        num_nodes: Number of nodes.
        val: Share of the nodes that are new at validation, above 0.
        test: Share of the nodes that are new at test, above 0.
        generator: To draw with.
        held: Share of the links of new nodes that are asked for, in (0, 1].
        num_src: With two kinds of nodes, how many are of the first, which come first.

    Raises:
        ValueError: If a share is out of range or leaves train, val or test without links, or a new node has no pair
            without a link left.
    """
    check_nodes("edge_index", edge_index, num_nodes)
    if not (val > 0 and test > 0 and val + test < 1 and 0 < held <= 1):
        raise ValueError(
            f"'val' and 'test' must be shares above 0 that leave nodes to train on, and 'held' in (0, 1], got {val}, "
            f"{test} and {held}."
        )
    links = undirected_pairs(edge_index, num_nodes)
    order = torch.randperm(num_nodes, generator=generator, device=generator.device).to(links.device)
    num_val, num_test = round(val * num_nodes), round(test * num_nodes)
    born = torch.zeros(num_nodes, dtype=torch.int64, device=links.device)  # the phase at which a node appears
    born[order[:num_val]] = 1
    born[order[num_val : num_val + num_test]] = 2
    links = torch.where(born[links[0]] >= born[links[1]], links, links.flip(0))  # the newer node first
    shuffled = torch.randperm(links.size(1), generator=generator, device=generator.device).to(links.device)
    links = links[:, shuffled]
    phase = born[links[0]]
    asked, shown = {"train": links[:, phase == 0]}, {"train": links[:, phase == 0]}
    for number, name in ((1, "val"), (2, "test")):
        of_phase = links[:, phase == number]
        num = max(1, round(held * of_phase.size(1)))
        asked[name] = of_phase[:, :num]
        before = shown[PHASES[number - 1]]
        shown[name] = torch.cat([before, of_phase[:, num:]], dim=1)
    for name, part in asked.items():
        if not part.size(1):
            raise ValueError(
                f"no link is left for {name}: of {num_nodes:,} nodes with {links.size(1):,} links {num_val:,} are new "
                f"at validation and {num_test:,} at test. Take other shares."
            )
    graph = {name: torch.cat([edges, edges.flip(0)], dim=1) for name, edges in shown.items()}
    split = LinkSplit(num_nodes, graph, asked, num_src=num_src, new=born > 0)
    free = FreePairs(split.known(), num_nodes, num_src)
    negatives = {}
    for name in PHASES[1:]:
        source = asked[name][0]
        negatives[name] = {"uniform": torch.stack([source, free.draw_for(source, 1, generator)[:, 0]])}
    return replace(split, negatives=negatives)


def _with_uniform(split: LinkSplit, generator: torch.Generator) -> LinkSplit:
    """As many pairs without a link as links of validation and test, no pair twice."""
    sizes = [split.positives[phase].size(1) for phase in PHASES[1:]]
    drawn = FreePairs(split.known(), split.num_nodes, split.num_src).draw(sum(sizes), generator)
    val, test = torch.split(drawn, sizes, dim=1)
    return replace(split, negatives={"val": {"uniform": val}, "test": {"uniform": test}})


def _of_parts(
    parts: tuple[Tensor, ...],
    num_nodes: int,
    test_graph: str,
    num_src: int | None,
    generator: torch.Generator,
    *,
    repeats: bool = False,
) -> LinkSplit:
    """The split of links to train on, to choose by and to score; without negatives."""
    train, val, _ = parts
    seen = train if test_graph == "train" else undirected_pairs(torch.cat([train, val], dim=1), num_nodes)
    graph = {"train": train, "val": train, "test": seen}
    return LinkSplit(
        num_nodes,
        {phase: torch.cat([edges, edges.flip(0)], dim=1) for phase, edges in graph.items()},
        {phase: _turned(part, num_src, generator) for phase, part in zip(PHASES, parts, strict=True)},
        num_src=num_src,
        repeats=repeats,
    )


def _turned(links: Tensor, num_src: int | None, generator: torch.Generator) -> Tensor:
    """Either end first by chance, as negatives are drawn for the first; with two kinds of nodes, the source."""
    if num_src is not None:
        return links
    turn = torch.rand(links.size(1), generator=generator, device=generator.device).to(links.device) < 0.5
    return torch.where(turn, links.flip(0), links)


def _check_test_graph(name: str) -> None:
    if name not in ("train", "train+val"):
        raise unknown_name("graph for test", name, ("train", "train+val"))


def _among(edges: Tensor, links: Tensor, num_nodes: int) -> Tensor:
    """Whether each link is among some edges, in either direction."""
    known = undirected_pairs(edges, num_nodes)
    low, high = links.min(dim=0).values, links.max(dim=0).values
    return contains(known[0] * num_nodes + known[1], low * num_nodes + high)


def _refuse(links: Tensor, wrong: Tensor, what: str, then: str) -> None:
    count = int(wrong.sum())
    if count:
        shown = first_three([f"{u} - {v}" for u, v in links[:, wrong][:, :3].t().tolist()])
        raise ValueError(f"{count:,} of {links.size(1):,} {what} (first: {shown}). {then}")
