"""The only place that seeds anything: each epoch has its own numbers, so a resumed training repeats them."""

from __future__ import annotations

import torch


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of an epoch's order, ages and samples; it depends on ``(seed, epoch)`` alone."""
    return torch.Generator().manual_seed(_mix(seed, epoch))


def seed_dropout(seed: int, epoch: int) -> None:
    """Seeds torch's default generators, from which dropout (-1: initial weights) is drawn."""
    torch.manual_seed(_mix(seed, epoch) ^ 0x5BF03635)


def _mix(seed: int, epoch: int) -> int:
    # splitmix64, so that neighbouring seeds and epochs share nothing
    value = (seed * 0x9E3779B97F4A7C15 + (epoch + 1) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (value ^ (value >> 31)) & (2**63 - 1)
