"""The derivatives of a reduction over lists, of any order.

A sum over lists is one face of the form that is linear in each of g, x and w,

    T(g, x, w) = sum over entries e of  w[e] * <g[row of e], x[col[e]]>

whose derivative by g is the reduction, by x its transpose, and by w one product per entry. The derivative of each
of the three by one of its arguments is another of the three. The mean divides g by the lengths; a maximum or minimum
keeps, per channel, only the term of the entry that it took, in every derivative.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function

from graphlearn.ops import csr_dispatch

# With a `setup_context` of its own torch looks up the signature of `forward` at every call, which takes longer than the
# kernel does on a small batch.


class GatherReduce(Function):
    """The reduction ``[M, F]`` of the lists; with ``arg`` the entries that it names instead of the best ones."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor | None, arg: Tensor | None, reduce: str
    ) -> Tensor:
        if arg is not None:
            out = csr_dispatch.pick(x, weight, rowptr, col, arg)
        else:
            best = reduce in ("max", "min")
            out, arg = csr_dispatch.reduce_rows(x, weight, rowptr, col, reduce, need_arg=best)
        ctx.mean, ctx.num_src = reduce == "mean", x.size(0)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight, rowptr, col, arg)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rowptr, col, arg = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _Spread.apply(grad, weight, rowptr, col, arg, ctx.mean, ctx.num_src)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            grad_weight = EntryDot.apply(grad, x, rowptr, col, arg, ctx.mean, weight.numel())  # type: ignore[no-untyped-call]
        return grad_x, grad_weight, None, None, None, None


class _Spread(Function):
    """The derivative of T by x, ``[N, F]``."""

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        weight: Tensor | None,
        rowptr: Tensor,
        col: Tensor | None,
        arg: Tensor | None,
        mean: bool,
        num_src: int,
    ) -> Tensor:
        ctx.mean = mean
        ctx.save_for_backward(grad if ctx.needs_input_grad[1] else None, weight, rowptr, col, arg)
        return csr_dispatch.spread(grad, weight, rowptr, col, arg, num_src=num_src, mean=mean)

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight, rowptr, col, arg = ctx.saved_tensors
        by_grad = by_weight = None
        if ctx.needs_input_grad[0]:
            reduce = "mean" if ctx.mean else "sum"
            by_grad = GatherReduce.apply(grad_x, weight, rowptr, col, arg, reduce)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            by_weight = EntryDot.apply(grad, grad_x, rowptr, col, arg, ctx.mean, weight.numel())  # type: ignore[no-untyped-call]
        return by_grad, by_weight, None, None, None, None, None


class EntryDot(Function):
    """The derivative of T by w, ``[E]``."""

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        x: Tensor,
        rowptr: Tensor,
        col: Tensor | None,
        arg: Tensor | None,
        mean: bool,
        num_entries: int,
    ) -> Tensor:
        ctx.mean, ctx.num_src = mean, x.size(0)
        ctx.save_for_backward(grad, x, rowptr, col, arg)
        return csr_dispatch.dot(grad, x, rowptr, col, arg, num_entries=num_entries, mean=mean)

    @staticmethod
    def backward(ctx: Any, grad_weight: Tensor) -> tuple[Tensor | None, ...]:
        grad, x, rowptr, col, arg = ctx.saved_tensors
        grad_weight = grad_weight.contiguous()
        by_grad = by_x = None
        if ctx.needs_input_grad[0]:
            reduce = "mean" if ctx.mean else "sum"
            by_grad = GatherReduce.apply(x, grad_weight, rowptr, col, arg, reduce)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            by_x = _Spread.apply(grad, grad_weight, rowptr, col, arg, ctx.mean, ctx.num_src)  # type: ignore[no-untyped-call]
        return by_grad, by_x, None, None, None, None, None
