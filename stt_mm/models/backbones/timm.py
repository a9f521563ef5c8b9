"""Any network of timm, convolutional or transformer."""

import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from types import MethodType, ModuleType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stt_mm.errors import InputError, library_errors
from stt_mm.models.backbones.wrapped import WrappedNetwork, plain
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice


@MODELS.register_module()
class TimmBackbone(WrappedNetwork):
    """A network of timm as a feature extractor: maps without class and register tokens, at any input size.

    Stages have timm's own names: ``blocks.0`` to ``blocks.11`` in a 12-block ViT, ``layer1`` to ``layer4`` in a ResNet,
    ``stages.0`` to ``stages.3`` in a ConvNeXt. A position embedding is resampled to the grid of each input.

    Args:
        model_name: a name of ``timm.list_models()``, with its tag (``vit_small_patch16_224.dino``) if ``pretrained``.
        stages: maps to return, each by its name or by its position among all (-1: the last).
        pretrained: download timm's weights when the model is built.
        norm: apply the network's final normalisation to each map, where it has one for that (transformers have).
        position_embedding: how it is resampled. ``timm``: bicubic, a = -0.5; ``dino``: bicubic, a = -0.75, by the ratio
            (cells + 0.1) / cells, as DINO, iBOT and DINOv2 without registers do in their evaluation.
        options: further arguments of ``timm.create_model``, such as ``dict(img_size=448)``.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` loads any recognised checkpoint strictly.

    Raises:
        ImportError: timm is not installed.
        ValueError: no such network or stage, or ``dino`` for a network without such a position embedding.
    """

    def __init__(
        self,
        model_name: str,
        stages: Sequence[str | int] = (-1,),
        pretrained: bool = False,
        norm: bool = True,
        position_embedding: Literal['timm', 'dino'] = 'timm',
        options: dict[str, Any] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        check_choice('position_embedding', position_embedding, ('timm', 'dino'))
        network = create_network(model_name, pretrained, options or {})
        info = getattr(network.feature_info, 'info', network.feature_info)
        names = [level['module'] for level in info]
        indices = sorted({_stage_index(stage, names, model_name) for stage in stages})
        classifier = network.pretrained_cfg.get('classifier') or ()
        super().__init__(
            network,
            [names[index] for index in indices],
            tuple(f'{name}.' for name in ([classifier] if isinstance(classifier, str) else classifier)),
            init_cfg,
        )
        self.model_name = model_name
        self.position_embedding = position_embedding
        self.options = dict(options or {})
        self.norm = norm
        self.levels = {name: index for index, name in enumerate(names)}
        self.multiple = max(level['reduction'] for level in info)
        if position_embedding == 'dino':
            _use_dino_positions(network, model_name)

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of R, G and B in [0, 1] that timm states for the network."""
        return self.network.pretrained_cfg['mean'], self.network.pretrained_cfg['std']

    def geometry(self) -> dict[str, Any]:
        """What decides the features besides the weights, as plain data."""
        return dict(
            network=self.model_name.split('.')[0],
            norm=self.norm,
            positions=self.position_embedding,
            options=plain(self.options),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``[B, 3, H, W]`` to one ``[B, d, h, w]`` per stage, lowest first.

        Raises:
            ValueError: the network takes no frames of this size.
        """
        try:
            return tuple(
                self.network.forward_intermediates(
                    x,
                    indices=[self.levels[stage] for stage in self.stages],
                    norm=self.norm,
                    stop_early=True,
                    intermediates_only=True,
                )
            )
        except (AssertionError, RuntimeError) as error:
            height, width = x.shape[-2:]
            aligned = height % self.multiple == 0 and width % self.multiple == 0
            if isinstance(error, torch.cuda.OutOfMemoryError) or (aligned and isinstance(error, RuntimeError)):
                raise
            raise InputError(
                f'{self.model_name} does not take frames of {height} x {width}: {error} '
                f'{self._advice(height, width, aligned)}'
            ) from error

    def _advice(self, height: int, width: int, aligned: bool) -> str:
        if aligned:
            return (
                f'If it is built for one size, set options=dict(img_size=({height}, {width})); if the '
                'normalisation is the matter, norm=False.'
            )
        short = max(min(height, width) // self.multiple, 1) * self.multiple
        return (
            f'Both sides must be multiples of {self.multiple}: let the protocol see to that, propagator=dict('
            f'protocol=dict(..., short_side={short}, multiple={self.multiple})).'
        )


def create_network(model_name: str, pretrained: bool, options: dict) -> nn.Module:
    """A timm network without classifier that, if it has a position embedding, takes any input size.

    Raises:
        ValueError: timm is not installed, has no such network or does not take the options.
    """
    timm = _import_timm()
    if not timm.is_model(model_name.split('.')[0]):
        close = get_close_matches(model_name.split('.')[0], timm.list_models())
        hint = f' Did you mean {" or ".join(close)}?' if close else ''
        raise InputError(f"timm {timm.__version__} has no network {model_name!r}.{hint} See timm.list_models('*vit*').")
    settings = dict(num_classes=0, **options)
    with library_errors(f'timm cannot build {model_name} with options={options}'):
        try:
            return timm.create_model(model_name, pretrained, **{'dynamic_img_size': True, **settings})
        except TypeError as error:
            if 'dynamic_img_size' not in str(error):
                raise
            return timm.create_model(model_name, pretrained, **settings)


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


def _import_timm() -> ModuleType:
    try:
        return importlib.import_module('timm')
    except ModuleNotFoundError as error:
        if error.name != 'timm':
            raise
        raise InputError('TimmBackbone needs timm: pip install timm') from error


def _stage_index(stage: str | int, names: list[str], model_name: str) -> int:
    if isinstance(stage, int) and -len(names) <= stage < len(names):
        return stage % len(names)
    if stage in names:
        return names.index(stage)
    raise InputError(
        f'{model_name} has no stage {stage!r}. Its stages: {", ".join(names)}, or positions from '
        f'{-len(names)} to {len(names) - 1}.'
    )


def _use_dino_positions(network: nn.Module, model_name: str) -> None:
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
            f"position_embedding='dino' needs a ViT with a class token and one learned embedding for it "
            f"and each patch, which {model_name} is not. Use position_embedding='timm'."
        )

    def embed(self: nn.Module, x: Tensor) -> Tensor:
        positions = dino_positions(self.pos_embed, tuple(x.shape[1:3]))
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)
        return self.pos_drop(tokens + positions)

    network._pos_embed = MethodType(embed, network)
