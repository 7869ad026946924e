"""Devices, seeds and the bar."""

from __future__ import annotations

import pytest
import torch

from graphlearn.errors import UnknownNameError, UsageError
from graphlearn.training.device import check_device
from graphlearn.training.progress import ProgressBar
from graphlearn.training.seed import epoch_generator, seed_dropout


def test_devices():
    check_device("cpu")
    for device in ("gpu", "", "cpu:0", "cuda:first", "cuda:"):
        with pytest.raises(UnknownNameError, match=r"Known: cpu, cuda"):
            check_device(device)
    with pytest.raises(UnknownNameError, match=r"no device 'cude'. Did you mean 'cuda'"):
        check_device("cude")
    with pytest.raises(UsageError, match=r"device 'cuda:99' was asked for, but torch sees \d+ CUDA devices here"):
        check_device("cuda:99")


def test_generators_of_epochs_share_nothing():
    drawn = {
        (seed, epoch): torch.rand(1, generator=epoch_generator(seed, epoch)).item()
        for seed in range(20)
        for epoch in range(20)
    }
    assert len(set(drawn.values())) == 400
    assert drawn[3, 4] == torch.rand(1, generator=epoch_generator(3, 4)).item()


def test_dropout_has_its_own_numbers():
    seed_dropout(0, 1)
    first = torch.rand(3)
    seed_dropout(0, 1)
    assert torch.equal(first, torch.rand(3))
    assert not torch.equal(first, torch.rand(3, generator=epoch_generator(0, 1)))


def test_the_bar_says_nothing_where_nobody_looks(capfd):
    with ProgressBar(3) as bar:
        for i in range(3):
            bar.show(i + 1, "epoch 1/1")
        with bar.paused():
            pass
    assert capfd.readouterr() == ("", "")
