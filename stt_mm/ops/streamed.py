"""The logarithm of a sum of exponentials over many keys, of which only a part is looked at at a time."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that exist at a time on a device: 16 MiB of float32.
SCORES = 2**22


class _StreamedLogSumExp(torch.autograd.Function):
    """Its gradient is the mean of the keys under the softmax, which is gathered on the way, with no scores kept."""

    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, counted: Tensor, scale: float) -> Tensor:
        # No exponential is left of a key that does not count, and no infinity makes a difference no number.
        excluded = torch.finfo(query.dtype).min / 2
        bias = torch.zeros(counted.shape, dtype=query.dtype, device=query.device).masked_fill(~counted, excluded)
        mass, mean = (_attended if query.device.type == 'cpu' else _streamed)(query, keys, bias, scale)
        none = ~counted.any(1)[:, None]
        ctx.save_for_backward(mean.masked_fill_(none[..., None], 0).mul_(scale))
        return mass.masked_fill(none, -math.inf)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (mean,) = ctx.saved_tensors
        return mean * grad[..., None], None, None, None


def _attended(query: Tensor, keys: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Log-sum-exp ``[B, N]`` and mean ``[B, N, C]`` on a CPU: PyTorch's attention, of the keys as values, has both.

    It looks at as many scores at a time as a cache holds.
    """
    batch, queries, _ = query.shape
    shared = keys.expand(batch, 1, -1, -1)
    mean, mass = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query[:, None].contiguous(),
        shared,
        shared,
        attn_mask=bias[:, None, None],
        scale=scale,
    )
    return mass.reshape(batch, queries), mean[:, 0]


def _streamed(query: Tensor, keys: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The same on other devices, of so many keys at a time that their scores are at most :data:`SCORES`."""
    most = query.new_full(query.shape[:2], -math.inf)
    total, mean = torch.zeros_like(most), torch.zeros_like(query)
    size = max(SCORES // most.numel(), 16)
    for part, less in zip(keys.split(size), bias.split(size, 1), strict=True):
        shared = part.expand(query.shape[0], -1, -1)
        scores = torch.baddbmm(less[:, None], query, shared.mT, alpha=scale)
        higher = torch.maximum(most, scores.amax(-1))
        weights, kept = scores.sub_(higher[..., None]).exp_(), (most - higher).exp()
        total = total * kept + weights.sum(-1)
        mean.mul_(kept[..., None]).baddbmm_(weights, shared)
        most = higher
    return most + total.log(), mean.div_(total[..., None])


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
    return _StreamedLogSumExp.apply(query.flatten(2).mT, keys.to(query.dtype), counted, scale)
