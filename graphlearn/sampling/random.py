r"""Random numbers as a function of where they are used, so that no draw depends on another one.

Every node of a batch has a 64-bit key, made from the batch's number and the path from its seed; a list of neighbours
has the key of its node and its edge type; draw :math:`c` of a list is a hash of the list's key and :math:`c`. A seed's
tree is therefore the same whatever else is in the batch, whichever backend makes it and on any number of threads.
The hash is the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor

# int64 tensors wrap around on overflow like unsigned ones, but take only signed constants.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MULTIPLY_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MULTIPLY_2 = 0x94D049BB133111EB - (1 << 64)
_CHILD = 0x5851F42D4C957F2D
_LARGEST = torch.iinfo(torch.int64).max


def draw_base(generator: torch.Generator) -> int:
    """One signed 64-bit number from ``generator``, the only thing that a batch takes from it."""
    low, high = -(1 << 63), (1 << 63) - 1
    return int(torch.randint(low, high, (), generator=generator, device=generator.device).item())


def mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 on each element of an int64 tensor."""
    x = (x ^ _shift(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift(x, 27)) * _MULTIPLY_2
    return x ^ _shift(x, 31)


def stream(key: Tensor | int, counter: Tensor) -> Tensor:
    """Element ``counter`` of the stream of each key."""
    return mix(key + (counter + 1) * _GOLDEN)


def child_key(list_key: Tensor, rank: Tensor) -> Tensor:
    """The key of the node that is pick ``rank`` of the list with key ``list_key``."""
    return stream(list_key ^ _CHILD, rank)


def draw_ranks(list_key: Tensor, n: Tensor, k: int) -> Tensor:
    """``k`` different ranks below ``n`` for each list, in increasing order, every subset equally likely.

    The first ``m`` different values of the list's stream are kept, or, where that is fewer, left out
    (``m = min(k, n - k)``), so that a fresh draw is new with probability one half at least. Expected cost
    ``O(P k log k)``; loops (and reads one flag from the device) once per round of repeated draws.

    Shapes:
        - ``list_key``: ``[P]`` int64;  ``n``: ``[P]`` int64, each above ``k``
        - returns ``[P, k]`` int64
    """
    m = (n - k).clamp_max(k)
    slot = torch.arange(k, device=n.device)
    unused = slot >= m[:, None]
    drawn = _below(stream(list_key[:, None], slot), n[:, None]).masked_fill(unused, _LARGEST)
    drawn = drawn.sort(dim=1).values

    used, lists = m.clone(), torch.arange(n.numel(), device=n.device)
    current = drawn
    while True:
        again = (current[:, 1:] == current[:, :-1]) & (current[:, 1:] != _LARGEST)
        todo = again.any(dim=1).nonzero().squeeze(1)
        if todo.numel() == 0:
            break
        again, lists, current = again[todo], lists[todo], current[todo]
        counter = used[lists][:, None] + again.cumsum(dim=1) - 1
        fresh = _below(stream(list_key[lists][:, None], counter), n[lists][:, None])
        current = torch.cat([current[:, :1], torch.where(again, fresh, current[:, 1:])], dim=1).sort(dim=1).values
        used[lists] += again.sum(dim=1)
        drawn[lists] = current

    # The j-th rank that is not left out is j plus the number of left-out ranks before it.
    before = torch.where(drawn == _LARGEST, drawn, drawn - slot)
    kept = slot + torch.searchsorted(before, slot.expand_as(before).contiguous(), right=True)
    return torch.where((m < k)[:, None], kept, drawn)


def _shift(x: Tensor, bits: int) -> Tensor:
    # `>>` copies the sign bit of an int64, the hash needs zeros there.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _below(bits: Tensor, n: Tensor) -> Tensor:
    # The top 53 bits make a float64 in [0, 1) exactly; only the product is rounded, possibly up to n itself.
    uniform = _shift(bits, 11).to(torch.float64) * 2.0**-53
    return torch.minimum((uniform * n).to(torch.int64), n - 1)
