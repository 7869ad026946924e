"""The message passing of the relational model takes its bits from ``quantize``, as the docs say."""

import torch
from torch.nn import Linear

from graphlearn.compress.quantize import W8A8, convert, quantize
from graphlearn.nn import TemporalSAGEConv

READS = ("people", "reads", "papers")


def test_every_matrix_of_temporal_message_passing_is_rounded():
    generator = torch.Generator().manual_seed(0)
    x = {name: torch.randn(5, 4, generator=generator) for name in ("people", "papers")}
    age = {"people": torch.rand(5, 2, generator=generator)}
    col = torch.tensor([0, 1, 4, 2])
    inputs = x, age, {"papers": x["papers"]}, {READS: (torch.tensor([0, 2, 2, 3, 4, 4]), col, col)}
    conv = TemporalSAGEConv(4, 2, [READS]).eval()
    rounded = quantize(conv, W8A8())
    linear = [module for module in rounded.modules() if isinstance(module, Linear)]
    assert len(linear) == sum(isinstance(module, Linear) for module in conv.modules())
    rounded.train()(*inputs)
    assert all(int(module.input_quantizer.seen) > 0 for module in linear)
    out, integers = rounded.eval()(*inputs)["papers"], convert(rounded)(*inputs)["papers"]
    torch.testing.assert_close(out, conv(*inputs)["papers"], atol=0.1, rtol=0.1)
    torch.testing.assert_close(integers, out, atol=0.02, rtol=0.02)
