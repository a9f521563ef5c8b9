"""Transformers of timm on grids of any size, in the ways of their authors."""

import sys
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stt_mm.errors import InputError


def dino_positions(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """A ViT's position embedding on another grid, as DINO's evaluation computes it (``interpolate_pos_encoding``).

    Args:
        embedding: ``[1, 1 + n * n, d]``, class token first.
        grid: rows and columns wanted.

    Returns:
        ``[1, 1 + rows * columns, d]``; the embedding itself if the grid is ``n x n``.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return embedding
    cells = embedding[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    # The 0.1 enters the sampling positions too, since interpolate uses the factors as they are given.
    factors = tuple((cell + 0.1) / side for cell in grid)
    cells = F.interpolate(cells, scale_factor=factors, mode='bicubic')
    return torch.cat([embedding[:, :1], cells.flatten(2).transpose(1, 2)], dim=1)


def use_dino_positions(network: nn.Module, model_name: str) -> None:
    """Let a transformer of timm have the positions that DINO's own code gives it.

    A learned embedding is resampled by :func:`dino_positions`. The periods of DINOv3's rotary embedding are rounded to
    bfloat16, as the published files hold them; timm leaves them exact.

    Raises:
        ValueError: the network has neither.
    """
    rope = getattr(network, 'rope', None)
    if hasattr(rope, 'periods'):
        compute = type(rope)._compute_periods

        def rounded(self: nn.Module, *args: Any, **settings: Any) -> Tensor:
            periods = compute(self, *args, **settings)
            return periods.bfloat16().to(periods.dtype)

        # Some versions of timm compute them again where a network changes its type.
        rope._compute_periods = MethodType(rounded, rope)
        rope.periods.copy_(rope._compute_periods())
        return
    plain = (
        hasattr(network, '_pos_embed')
        and getattr(network, 'dynamic_img_size', False)
        and getattr(network, 'num_prefix_tokens', 0) == 1
        and getattr(network, 'cls_token', None) is not None
        and getattr(network, 'pos_embed', None) is not None
        and not network.no_embed_class
    )
    if not plain:
        raise InputError(
            "position_embedding='dino' needs a ViT with a class token and one learned embedding for it and each patch, "
            f"or the rotary one of DINOv3, which {model_name} is not. Use 'timm'."
        )

    def embed(self: nn.Module, x: Tensor) -> Tensor:
        positions = dino_positions(self.pos_embed, tuple(x.shape[1:3]))
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)
        return self.pos_drop(tokens + positions)

    network._pos_embed = MethodType(embed, network)


def is_hiera(network: nn.Module) -> bool:
    """Whether timm's network is a Hiera, of either kind, none of whose maps has a normalisation."""
    return all(hasattr(network, name) for name in ('stage_ends', 'q_stride', 'patch_embed'))


def fit_hiera(network: nn.Module, size: tuple[int, int]) -> None:
    """Let a Hiera, which timm builds for frames of one size, take those of another.

    Its windows stay as they are, and there are as many as the frame needs. A position embedding without windows is
    resampled from the grid that the network was built for, bicubic with smoothing; one with windows is made for that.

    Args:
        network: changed in place, but for its weights.
        size: (height, width) of the frames, multiples of the windows.
    """
    if not hasattr(network, 'unroll'):
        return  # that of SAM 2 takes every size
    library = sys.modules[type(network).__module__]
    if not hasattr(network, 'native_grid'):
        network.native_grid = tuple(network.tokens_spatial_shape)
        if network.pos_embed.dim() == 3:
            network._pos_embed = MethodType(_resampled, network)
    tokens = [side // step for side, step in zip(size, network.patch_stride, strict=True)]
    if tokens == list(network.tokens_spatial_shape):
        return
    steps = [network.q_stride] * (len(network.stage_ends) - 1)
    network.tokens_spatial_shape = tokens
    network.mask_spatial_shape = [side // unit for side, unit in zip(tokens, network.mask_unit_size, strict=True)]
    network.unroll = library.Unroll(size, network.patch_stride, steps)
    network.reroll = library.Reroll(size, network.patch_stride, steps, network.stage_ends, network.q_pool)


def _resampled(network: nn.Module, x: Tensor) -> Tensor:
    positions, grid = network.pos_embed, tuple(network.tokens_spatial_shape)
    if grid != network.native_grid:
        cells = positions.unflatten(1, network.native_grid).permute(0, 3, 1, 2).float()
        cells = F.interpolate(cells, size=grid, mode='bicubic', antialias=True)
        positions = cells.flatten(2).transpose(1, 2).to(positions.dtype)
    return x + positions
