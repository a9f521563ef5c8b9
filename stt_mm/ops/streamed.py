"""The logarithm of a sum of exponentials over many keys, of which only a part is looked at at a time."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that exist at a time, of all queries: 16 MiB in float32.
SCORES = 2**22


class _StreamedLogSumExp(torch.autograd.Function):
    """Its gradient is the mean of the keys under the softmax, which is gathered on the way, with no scores kept."""

    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, bias: Tensor, scale: float) -> Tensor:
        most = query.new_full(query.shape[:2], -math.inf)
        total, mean = torch.zeros_like(most), torch.zeros_like(query) if ctx.needs_input_grad[0] else None
        for part in _parts(query, keys):
            shared = keys[part].expand(query.shape[0], -1, -1)
            scores = torch.baddbmm(bias[:, None, part], query, shared.mT, alpha=scale)
            higher = torch.maximum(most, scores.amax(-1))
            # Where nothing counts yet the difference of two infinities would be no number.
            level = higher.clamp(min=torch.finfo(higher.dtype).min)
            weights, less = scores.sub_(level[..., None]).exp_(), (most - level).exp()
            total = total * less + weights.sum(-1)
            if mean is not None:
                mean.mul_(less[..., None]).baddbmm_(weights, shared)
            most = higher
        if mean is not None:
            tiny = torch.finfo(total.dtype).tiny
            ctx.save_for_backward(mean.mul_(scale / total.clamp(min=tiny)[..., None]))
        return most + total.log()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (mean,) = ctx.saved_tensors
        return mean * grad[..., None], None, None, None


def _parts(query: Tensor, keys: Tensor) -> list[slice]:
    size = max(SCORES // (query.shape[0] * query.shape[1]), 16)
    return [slice(start, start + size) for start in range(0, len(keys), size)]


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
