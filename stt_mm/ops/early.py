"""Losses whose gradient does not wait for the backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _EarlyGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            leaf = value.detach().requires_grad_()
            loss = function(leaf)
        ctx.save_for_backward(*torch.autograd.grad(loss, leaf))
        return loss.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None


def early_gradient(function: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """A scalar function of a tensor, with its gradient taken at once and kept in place of all that it came from.

    What else the function reads may be changed before the backward pass, and gets no gradient. With a factor of 1 in
    the backward pass, or a power of 2 as of a loss scaler, the gradient is the usual one to the bit.

    Args:
        function: maps a tensor like ``value`` to a scalar.
        value: the tensor that the gradient is for.
    """
    return _EarlyGradient.apply(value, function)
