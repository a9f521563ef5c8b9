"""Any network of timm, convolutional or transformer."""

import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stt_mm.errors import InputError, library_errors
from stt_mm.models.backbones.timm_grids import fit_hiera, is_hiera, use_dino_positions
from stt_mm.models.backbones.wrapped import WrappedNetwork, plain, sides_advice, stage_index
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice


@MODELS.register_module()
class TimmBackbone(WrappedNetwork):
    """A network of timm as a feature extractor: maps without class and register tokens, at any input size.

    Stages have timm's own names: ``blocks.0`` to ``blocks.11`` in a 12-block ViT, ``layer1`` to ``layer4`` in a ResNet,
    ``stages.0`` to ``stages.3`` in a ConvNeXt, the last block of each stage in a Hiera. A learned position embedding is
    resampled to the grid of each input, a rotary one computed for it. Sides that are no multiples of the patch or the
    windows of a transformer are refused; a convolutional network that would leave out their rest, as a ConvNeXt, gets
    frames that are padded with 0, to the right and below, so that a map always has ``ceil(side / stride)`` cells.

    Args:
        model_name: a name of ``timm.list_models()``, with its tag (``vit_small_patch16_224.dino``) if ``pretrained``.
        stages: maps to return, each by its name or by its position among all (-1: the last).
        pretrained: download timm's weights when the model is built.
        norm: apply the network's final normalisation to each map, where it has one for that: a ViT for all its maps, a
            Swin Transformer for the last one; that of a ConvNeXt or Hiera is behind its pooling, and left out.
        position_embedding: ``timm``: as timm has it, a learned one resampled bicubic, a = -0.5; ``dino``: as DINO has
            it, that is bicubic, a = -0.75, by the ratio (cells + 0.1) / cells, which DINO, iBOT and DINOv2 without
            registers do in their evaluation, or rotary with the rounded periods of DINOv3's files.
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
        indices = sorted({stage_index(stage, names, model_name) for stage in stages})
        self._is_hiera = is_hiera(network)
        classifier = 'head' if self._is_hiera else network.pretrained_cfg.get('classifier') or ()
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
        self.strides = {level['module']: level['reduction'] for level in info}
        self.multiple = max(self.strides.values())
        self._pads = not hasattr(network, 'patch_embed') and any(map(_leaves_out, network.modules()))
        if position_embedding == 'dino':
            use_dino_positions(network, model_name)

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
        height, width = x.shape[-2:]
        if self._pads:
            stride = max(self.strides[stage] for stage in self.stages)
            x = F.pad(x, (0, -width % stride, 0, -height % stride))
        try:
            if self._is_hiera:
                fit_hiera(self.network, (height, width))
            maps = self.network.forward_intermediates(
                x,
                indices=[self.levels[stage] for stage in self.stages],
                norm=self.norm and not self._is_hiera,
                stop_early=True,
                intermediates_only=True,
            )
        except (AssertionError, RuntimeError) as error:
            aligned = height % self.multiple == 0 and width % self.multiple == 0
            if isinstance(error, torch.cuda.OutOfMemoryError) or (aligned and isinstance(error, RuntimeError)):
                raise
            raise InputError(
                f'{self.model_name} does not take frames of {height} x {width}: {error} '
                f'{self._advice(height, width, aligned)}'
            ) from error
        if self._pads:
            cells = [(-(-height // step), -(-width // step)) for step in map(self.strides.get, self.stages)]
            maps = [feature[..., :rows, :columns] for feature, (rows, columns) in zip(maps, cells, strict=True)]
        return tuple(maps)

    def _advice(self, height: int, width: int, aligned: bool) -> str:
        if aligned:
            return (
                f'If it is built for one size, set options=dict(img_size=({height}, {width})); if the '
                'normalisation is the matter, norm=False.'
            )
        return sides_advice(height, width, self.multiple)


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


def _import_timm() -> ModuleType:
    try:
        return importlib.import_module('timm')
    except ModuleNotFoundError as error:
        if error.name != 'timm':
            raise
        raise InputError('TimmBackbone needs timm: pip install timm') from error


def _leaves_out(module: nn.Module) -> bool:
    """Whether a layer takes patches side by side, of which the last one may not be whole."""
    patches = isinstance(module, nn.Conv2d) and module.stride == module.kernel_size > (1, 1)
    return patches and module.padding == (0, 0)
