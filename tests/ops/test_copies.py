"""Copies written out against copies made one by one, shared states against colours by hand, and wrong input."""

from __future__ import annotations

import pytest
import torch

from graphlearn.ops import copy_rows, node_tuples, share_states

# A path of three nodes and, as a second graph, one node.
PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
PTR = torch.tensor([0, 3, 4])


def rows_of(size: int, **kwargs):
    tuples, graph = node_tuples(PATH, PTR, size)
    return copy_rows(PATH, PTR, tuples, graph, **kwargs), tuples, graph


def test_each_copy_is_the_graph_with_its_labels():
    rows, tuples, graph = rows_of(2)
    seen = 0
    for copy, nodes in enumerate(tuples.t().tolist()):
        start, end = PTR[graph[copy]].item(), PTR[graph[copy] + 1].item()
        mine = rows.copy == copy
        assert rows.node[mine].tolist() == list(range(start, end))
        labels = dict.fromkeys(range(start, end), 0) | dict(zip(reversed(nodes), (2, 1), strict=True))
        assert rows.label[mine].tolist() == [labels[v] for v in range(start, end)]
        edges = rows.edge_index[:, rows.copy[rows.edge_index[0]] == copy]
        expected = PATH if start == 0 else PATH[:, :0]
        assert sorted(rows.node[edges].t().tolist()) == sorted(expected.t().tolist())
        assert rows.node[rows.first[copy]] == nodes[0]
        seen += int(mine.sum())
    assert seen == rows.node.numel() == 6 * 3 + 1
    assert torch.equal(PATH[:, rows.edge], rows.node[rows.edge_index])
    assert bool((rows.edge_index[1].diff() >= 0).all())


def test_a_repeated_node_has_the_label_of_its_first_place():
    rows = rows_of(2)[0]
    assert rows.label[-1] == 1
    assert rows_of(2, same_label=True)[0].label.max() == 1


@pytest.mark.parametrize(("hops", "sizes"), [(0, [1, 1, 1, 1]), (1, [2, 3, 2, 1]), (2, [3, 3, 3, 1])])
def test_local_copies_hold_what_is_near_a_label(hops, sizes):
    rows = rows_of(1, hops=hops)[0]
    assert torch.bincount(rows.copy).tolist() == sizes
    assert rows.label[rows.first].tolist() == [1, 1, 1, 1]
    inside = torch.bincount(rows.copy[rows.edge_index[0]], minlength=4).tolist()
    assert inside == [2 * (size - 1) for size in sizes]


def test_shared_states_by_hand():
    """Equal nodes, one label, one round: at first only the label counts, then the label and those of the neighbours."""
    rows, _, graph = rows_of(1)
    shared = share_states(rows, PTR, graph, 1, node_color=torch.zeros(4, dtype=torch.int64))
    assert sorted(shared.label.tolist()) == [0, 1]
    # Labelled: an end, the middle, the node alone. Not labelled: an end beside the label, the middle beside it, an end
    # two edges off.
    assert shared.rounds[0].own.numel() == 6
    # Labelling either end gives the same copy.
    assert shared.graph_rowptr.tolist() == [0, 2, 3]
    assert sorted(shared.copy_weight[:2].tolist()) == [1.0, 2.0]
    assert shared.copy_weight[2] == 1
    assert shared.copy_rowptr.diff().tolist() in ([3, 2, 1], [2, 3, 1])
    assert shared.copy_count.sum() == 7


def test_features_of_nodes_and_edges_keep_states_apart():
    rows, _, graph = rows_of(0)
    same = torch.zeros(4, dtype=torch.int64)
    sizes = []
    for node_color, edge_color in (
        (same, None),
        (same, torch.tensor([0, 0, 1, 1])),
        (torch.tensor([0, 1, 2, 0]), None),
        (None, None),
    ):
        shared = share_states(rows, PTR, graph, 1, node_color=node_color, edge_color=edge_color)
        sizes.append([shared.node.numel(), shared.rounds[0].own.numel()])
    assert sizes == [[1, 3], [1, 4], [3, 4], [4, 4]]


def test_a_state_over_an_edge_is_not_the_edge_over_the_state():
    """Node colours 0 and 1 heard over edges of colour 1 and 0: two different messages."""
    edge_index = torch.tensor([[0, 1], [2, 3]])
    ptr = torch.tensor([0, 4])
    rows = copy_rows(edge_index, ptr, *node_tuples(edge_index, ptr, 0))
    color = torch.tensor([0, 1, 2, 2])
    for edges, count in (([1, 0], 4), ([0, 0], 4), ([1, 1], 4)):
        shared = share_states(
            rows, ptr, torch.tensor([0]), 1, node_color=color, edge_color=torch.tensor(edges)
        )  # fmt: skip
        assert shared.rounds[0].own.numel() == count


def test_states_of_nodes_with_weights():
    rows, _, graph = rows_of(1)
    weight = torch.tensor([2.0, 3.0, 5.0, 7.0])
    every = share_states(rows, PTR, graph, 1, weight=weight, per_node="all")
    assert every.node_rowptr is not None
    assert every.node_count is not None
    per_node = [
        every.node_count[a:b].sum().item() for a, b in zip(every.node_rowptr, every.node_rowptr[1:], strict=False)
    ]
    assert per_node == [10.0, 10.0, 10.0, 7.0]
    first = share_states(rows, PTR, graph, 1, weight=weight, per_node="first")
    assert first.node_count is not None
    assert first.node_count.tolist() == weight.tolist()


TUPLES = torch.tensor([[0, 3]])
GRAPH = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"tuple_index": TUPLES[0]},
            r"'tuple_index' must be int64 of shape \[l, T\], one tuple per column, got .* \[2\]",
        ),
        ({"tuple_index": TUPLES.float()}, r"'tuple_index' must be int64 .*, got torch\.float32 \[1, 2\]\."),
        ({"tuple_graph": GRAPH[:1]}, r"'tuple_graph' must have shape \[2\], got \[1\]\."),
        ({"tuple_graph": GRAPH + 1}, r"'tuple_graph' must rise and name graphs 0 to 1, found 2\."),
        ({"tuple_graph": GRAPH.flip(0)}, r"'tuple_graph' must rise and name graphs 0 to 1, found 1, 0\."),
        ({"tuple_index": TUPLES + 1}, r"tuple 1 is \[4\], but graph 1 has nodes 3 to 3\."),
        ({"tuple_index": TUPLES - 1}, r"tuple 0 is \[-1\], but graph 0 has nodes 0 to 2\."),
        ({"hops": -1}, r"'hops' must be >= 0 and needs a labelled node, got -1 with l = 1\."),
        ({"hops": 1, "tuple_index": TUPLES[:0]}, r"needs a labelled node, got 1 with l = 0\."),
        ({"edge_index": PATH + 2}, r"'edge_index' must name nodes 0 to 3: 2 of 8 numbers do not"),
    ],
)
def test_wrong_input(change, text):
    args = {"edge_index": PATH, "ptr": PTR, "tuple_index": TUPLES, "tuple_graph": GRAPH} | change
    with pytest.raises(ValueError, match=text):
        copy_rows(**args)
