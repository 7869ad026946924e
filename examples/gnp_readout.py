"""Can a read-out find out by itself what it should compute?    python examples/gnp_readout.py --figure gnp_readout.png

Four targets of sets of numbers: their sum, mean, maximum and harmonic mean. One pooling with a learned order p and
size exponent q, `GNPAggregation`, is trained on small sets for each of them, and judged on sets three times as large.
Where p and q go is drawn into a figure, if one is asked for (needs matplotlib).
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from graphlearn.nn import GNPAggregation
from graphlearn.ops import segment_reduce

TARGETS = {
    "sum": lambda x, ptr: segment_reduce(x, ptr=ptr),
    "mean": lambda x, ptr: segment_reduce(x, reduce="mean", ptr=ptr),
    "maximum": lambda x, ptr: segment_reduce(x, reduce="max", ptr=ptr),
    "harmonic mean": lambda x, ptr: 1 / segment_reduce(1 / x, reduce="mean", ptr=ptr),
}


def sets(count: int, low: int, high: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers between 1 and 5 in ``count`` sets of ``low`` to ``high`` numbers."""
    g = torch.Generator().manual_seed(seed)
    size = torch.randint(low, high + 1, (count,), generator=g)
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), size.cumsum(0)])
    return 1 + 4 * torch.rand(int(ptr[-1]), 1, generator=g), ptr


def learn(name: str, steps: int) -> tuple[GNPAggregation, list[tuple[float, float]]]:
    """The trained pooling, and p and q at each step."""
    x, ptr = sets(200, 3, 10, seed=0)
    wanted = TARGETS[name](x, ptr)
    # p > 0 and p < 0 are two branches: a harmonic mean wants the second one.
    pool = GNPAggregation(1.0, 0.5, sign="-" if name == "harmonic mean" else "+")
    optimizer = torch.optim.Adam(pool.parameters(), lr=0.1)
    path = []
    for _ in range(steps):
        loss = ((pool(x, ptr=ptr) - wanted) / wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        path.append((pool.p.item(), pool.q.item()))
    return pool, path


def draw(paths: dict[str, list[tuple[float, float]]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")  # no window
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for name, path in paths.items():
        p, q = zip(*path, strict=True)
        left.plot(p, label=name)
        right.plot(q, label=name)
    left.set(xlabel="step", title="order p", yscale="symlog", yticks=[-10, -1, 0, 1, 10, 100])
    left.yaxis.set_major_formatter("{x:g}")
    right.set(xlabel="step", title="size exponent q", ylim=(-2, 2))
    right.legend(frameon=False, loc="upper right")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--figure", type=Path, help="the PNG to write")
    args = parser.parse_args()
    paths = {}
    for name, target in TARGETS.items():
        pool, paths[name] = learn(name, args.steps)
        x, ptr = sets(200, 11, 30, seed=1)
        wanted = target(x, ptr)
        with torch.no_grad():
            error = 100 * ((pool(x, ptr=ptr) - wanted) / wanted).abs().mean()
        print(f"{name:<14} learned {pool.named_equivalent():<36} error on larger sets {error:.2f} %")
    if args.figure is not None:
        draw(paths, args.figure)
        print(f"wrote {args.figure}")


if __name__ == "__main__":
    main()
