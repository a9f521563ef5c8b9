"""The logarithm of a sum of exponentials over many keys, of which only a part is looked at at a time."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that exist at a time: on a GPU 16 MiB of float32; on a CPU what its caches hold, of so many keys.
SCORES = 2**22
SCORES_ON_CPU, KEYS_ON_CPU = 2**18, 512


class _StreamedLogSumExp(torch.autograd.Function):
    """Its gradient is the mean of the keys under the softmax, which is gathered on the way, with no scores kept."""

    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, bias: Tensor, scale: float) -> Tensor:
        queries, size = _at_a_time(query)
        found = [_streamed(part, keys, bias, scale, size, ctx.needs_input_grad[0]) for part in query.split(queries, 1)]
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.cat([mean for _, mean in found], 1))
        return torch.cat([mass for mass, _ in found], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (mean,) = ctx.saved_tensors
        return mean * grad[..., None], None, None, None


def _at_a_time(query: Tensor) -> tuple[int, int]:
    """Queries of an image and keys that are looked at together."""
    batch, queries, _ = query.shape
    if query.device.type == 'cpu':
        return max(SCORES_ON_CPU // (batch * KEYS_ON_CPU), 16), KEYS_ON_CPU
    return queries, max(SCORES // (batch * queries), 16)


def _streamed(
    query: Tensor, keys: Tensor, bias: Tensor, scale: float, size: int, with_mean: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-sum-exp ``[B, N]`` over ``size`` keys at a time and, on request, its gradient in the query ``[B, N, C]``."""
    most = query.new_full(query.shape[:2], -math.inf)
    total, mean = torch.zeros_like(most), query.new_zeros(query.shape) if with_mean else None
    for part, allowed in zip(keys.split(size), bias.split(size, 1), strict=True):
        shared = part.expand(query.shape[0], -1, -1)
        scores = torch.baddbmm(allowed[:, None], query, shared.mT, alpha=scale)
        higher = torch.maximum(most, scores.amax(-1))
        # Where nothing counts yet the difference of two infinities would be no number.
        level = higher.clamp(min=torch.finfo(higher.dtype).min)
        weights, less = scores.sub_(level[..., None]).exp_(), (most - level).exp()
        total = total * less + weights.sum(-1)
        if mean is not None:
            mean.mul_(less[..., None]).baddbmm_(weights, shared)
        most = higher
    if mean is not None:
        # The highest score alone makes 1; less there is where nothing counts.
        mean.mul_(scale / total.clamp(min=1)[..., None])
    return most + total.log(), mean


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
