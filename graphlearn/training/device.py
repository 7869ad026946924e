"""Where to compute."""

from __future__ import annotations

import torch

from graphlearn.errors import UsageError, unknown_name


def check_device(device: str) -> None:
    """Raises if ``device`` is not ``cpu``, ``cuda`` or ``cuda:<number>``, or is not there.

    Raises:
        UnknownNameError: If there is no such kind of device.
        UsageError: If torch does not see it.
    """
    kind, colon, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (colon and (kind == "cpu" or not number.isdecimal())):
        raise unknown_name("device", device, ("cpu", "cuda"))
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise UsageError(f"device '{device}' was asked for, but torch sees {seen} CUDA devices here. Use --device cpu.")
