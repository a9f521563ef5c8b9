"""The logarithm of a sum of exponentials over many keys, of which only a part is looked at at a time."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that exist at a time, of all queries: 16 MiB in float32.
SCORES = 2**22


class _StreamedLogSumExp(torch.autograd.Function):
    """Keeps its inputs and its result; the backward pass computes the scores again."""

    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, bias: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        most = query.new_full(query.shape[:2], -math.inf)
        total = torch.zeros_like(most)
        for part in _parts(query, keys):
            scores = torch.baddbmm(bias[:, None, part], query, _shared(keys[part], query).mT, alpha=scale)
            higher = torch.maximum(most, scores.amax(-1))
            # Where nothing counts yet the difference of two infinities would be no number.
            level = higher.clamp(min=torch.finfo(higher.dtype).min)
            total = total * (most - level).exp() + scores.sub_(level[..., None]).exp_().sum(-1)
            most = higher
        found = most + total.log()
        ctx.save_for_backward(query, keys, bias, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        query, keys, bias, found = ctx.saved_tensors
        level = found.clamp(min=torch.finfo(found.dtype).min)
        grad_query = torch.zeros_like(query)
        # A compiled backward pass is traced under the autocast of the whole step.
        with torch.autocast(query.device.type, enabled=False):
            for part in _parts(query, keys):
                shared = _shared(keys[part], query)
                scores = torch.baddbmm(bias[:, None, part], query, shared.mT, alpha=ctx.scale)
                weights = scores.sub_(level[..., None]).exp_().mul_(grad[..., None])
                grad_query.baddbmm_(weights, shared, alpha=ctx.scale)
        return grad_query, None, None, None


def _parts(query: Tensor, keys: Tensor) -> list[slice]:
    size = max(SCORES // (query.shape[0] * query.shape[1]), 16)
    return [slice(start, start + size) for start in range(0, len(keys), size)]


def _shared(keys: Tensor, query: Tensor) -> Tensor:
    return keys.expand(query.shape[0], -1, -1)


def streamed_log_sum_exp(query: Tensor, keys: Tensor, counted: Tensor, scale: float) -> Tensor:
    """``log sum exp(scale * query . key)`` over the keys that count for each image, without all scores at once.

    Args:
        query: ``[B, C, H, W]``.
        keys: ``[M, C]``, constants that all images share.
        counted: bool ``[B, M]``, which of them count.
        scale: factor on the dot products.

    Returns:
        ``[B, H * W]``, differentiable in the query; ``-inf`` where no key counts. Of the scores, at most
        :data:`SCORES` exist at a time, or those of 16 keys.
    """
    bias = torch.zeros(counted.shape, dtype=query.dtype, device=query.device).masked_fill(~counted, -math.inf)
    return _StreamedLogSumExp.apply(query.flatten(2).mT, keys.to(query.dtype), bias, scale)
