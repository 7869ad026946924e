"""The sampler in C++ (graphlearn/native/sampler.cpp): one call per batch, on the calling thread, without the GIL."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from graphlearn.native import kernels
from graphlearn.sampling.arrays import GraphArrays, Sampled


def native_available() -> bool:
    """Whether this installation has the compiled sampler."""
    return hasattr(kernels, "TemporalSampler")


class NativeBackend:
    """Samples in C++; arguments are checked by `TemporalNeighborSampler`. May be called from several threads at once.

    The tensors of a batch are views of one buffer, which returns to a pool when the last of them is gone.
    """

    def __init__(
        self, graph: GraphArrays, num_hops: int, fan_out: list[list[int]], *, uniform: bool, disjoint: bool
    ) -> None:
        assert kernels is not None
        self._graph = graph  # keeps alive what the pointers point to
        tables = [(0 if n.time is None else n.time.data_ptr(), n.num_nodes, n.num_undated) for n in graph.nodes]
        relations = [
            (
                e.src,
                e.dst,
                0 if e.rowptr is None else e.rowptr.data_ptr(),
                e.neighbor.data_ptr(),
                e.neighbor.dtype == torch.int64,
            )
            for e in graph.edges
        ]
        self._sampler = kernels.TemporalSampler(
            tables, relations, num_hops, fan_out, uniform=uniform, disjoint=disjoint
        )

    def sample(self, seed_type: int, index: Tensor, input_time: Tensor, after: Tensor | None, base: int) -> Sampled:
        """The batch of seeds ``index``; ``after`` holds the exclusive lower ends of the windows, if there are."""
        flat, lengths, num_nodes, num_edges = self._sampler.sample(
            seed_type,
            index.data_ptr(),
            input_time.data_ptr(),
            0 if after is None else after.data_ptr(),
            index.numel(),
            base,
        )
        parts = iter(torch.split(flat, lengths))
        nodes = list(islice(parts, 3 * len(num_nodes)))
        edges = list(islice(parts, 2 * len(num_edges)))
        return Sampled(
            n_id=nodes[0::3],
            seed=nodes[1::3],
            rows=list(parts),
            inverse=nodes[2::3],
            num_nodes=num_nodes,
            rowptr=edges[0::2],
            col=edges[1::2],
            num_edges=num_edges,
        )
