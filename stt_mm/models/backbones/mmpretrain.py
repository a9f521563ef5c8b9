"""Any network of mmpretrain."""

import inspect
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.models.backbones.wrapped import WrappedNetwork, plain
from stt_mm.registry import MODELS

# Arguments of networks that matter in training alone, or say only which maps are returned.
_TRAINING_ONLY = ('out_indices', 'init_cfg', 'frozen_stages', 'norm_eval', 'with_cp', 'drop_rate', 'drop_path_rate')


@MODELS.register_module()
class MMPretrainBackbone(WrappedNetwork):
    """A network of mmpretrain as a feature extractor.

    Stages are called ``out<index>`` by the network's ``out_indices``: ``out2`` is layer3 of a ResNet, stage 2 of a Swin
    Transformer, block 2 of a ViT. Transformers that return tokens are told to return maps, and resample their position
    embedding to the grid of each input themselves; sides that are no multiple of the patch are padded by the network.

    Args:
        network: config of the network, such as ``dict(type='VisionTransformer', arch='small', out_indices=[-1])``. The
            type is looked up in mmpretrain, with or without its scope ``mmpretrain.``.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` loads any recognised checkpoint strictly.

    Raises:
        ValueError: the network has no ``out_indices``.
    """

    def __init__(self, network: dict, init_cfg: dict | None = None) -> None:
        settings = deepcopy(dict(network))
        if isinstance(settings.get('out_indices'), Sequence):
            # Transformers of mmpretrain resolve negative indices in place.
            settings['out_indices'] = list(settings['out_indices'])
        if '.' not in settings['type']:
            settings['type'] = f'mmpretrain.{settings["type"]}'
        kind = MODELS.get(settings['type'])
        if kind is not None and (hasattr(kind, 'OUT_TYPES') or 'out_type' in inspect.signature(kind).parameters):
            settings.setdefault('out_type', 'featmap')
        built = MODELS.build(settings)
        indices = getattr(built, 'out_indices', None)
        if not indices:
            raise InputError(
                f'{settings["type"]} has no out_indices, so its maps have no names. Choose a network '
                'whose constructor takes out_indices.'
            )
        super().__init__(built, [f'out{index}' for index in sorted(indices)], init_cfg=init_cfg)
        self._all = self.stages
        self._settings = settings

    def geometry(self) -> dict[str, Any]:
        """What decides the features besides the weights, as plain data: the config of the network."""
        settings = {name: value for name, value in self._settings.items() if name not in _TRAINING_ONLY}
        return plain(dict(network=settings.pop('type').removeprefix('mmpretrain.'), settings=settings))

    def init_weights(self) -> None:
        """mmpretrain's initialisation, or the checkpoint of ``init_cfg``, loaded strictly; errors as there."""
        self.network.init_weights()
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``[B, 3, H, W]`` to one ``[B, d, h, w]`` per stage, lowest first.

        Raises:
            ValueError: the network returned something else than maps.
        """
        maps = self.network(x)
        for name, feature in zip(self._all, maps, strict=True):
            if not isinstance(feature, Tensor) or feature.dim() != 4:
                got = tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
                raise InputError(
                    f'{type(self.network).__name__} returned no map [B, d, h, w] for {name} but {got}. '
                    'Set what makes it return maps, such as gap_before_final_norm=False of a ConvNeXt, '
                    "out_type='featmap' of a transformer."
                )
        return tuple(feature for name, feature in zip(self._all, maps, strict=True) if name in self.stages)
