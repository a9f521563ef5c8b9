"""Several networks, each with its own colours, evaluated as one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import ModuleList
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.models.backbones import LoadedBackbone, geometry_of
from stt_mm.models.correspondence.base import NETWORK, Correspondence, color_of
from stt_mm.ops.color import COLORS, Color
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number
from stt_mm.utils.checkpoint import sha8

FUSED = 'fused'


@MODELS.register_module()
class LateFusion(Correspondence):
    """Fused features of trained networks, as in SFC (ECCV 2022) and the last row of STT's Table 3.

    With features ``f_k`` of length 1 and weights ``w_k``, the fused feature of a position is the concatenation of all
    ``w_k f_k``, divided by ``sqrt(sum w_k ** 2)``. The cosine of two of them is the mean of the networks' cosines with
    the weights ``w_k ** 2``; for two networks with weights (lambda, 1) it is

        (lambda ** 2 cos_f + cos_s) / (lambda ** 2 + 1),

    so affinities are fused before the top-k and the softmax, and nothing else of the propagation changes. A position
    where a network is 0 in all channels has no cosine there, and goes by the others.

    The networks differ, so each takes its weights from its own ``init_cfg``: run ``tools/test.py CONFIG none``.

    Args:
        backbones: one config per network. All must give maps of one size; ``init_cfg=dict(type='Pretrained',
            checkpoint=PATH)`` loads any recognised checkpoint strictly.
        weights: one factor ``w_k`` per network, 0 or larger, not all of them 0. For two networks the paper of SFC has
            lambda = 1.75 on the fine-grained (temporal) and 1 on the semantic (spatial) one; STT states none.
        colors: what each network sees, such as ``('lab', 'rgb')``, as in a protocol's ``color``; ``None``: all see the
            colours of the protocol.
        feature_stages: stage of each network; ``None``: the last one that it returns.
        propagator: config of the label propagation.
        init_cfg: initialisation of the whole model; each network has its own.

    Raises:
        ValueError: lists of different lengths, fewer than two networks, or a value that is out of range.
    """

    def __init__(
        self,
        backbones: Sequence[dict],
        propagator: dict | None = None,
        weights: Sequence[float] = (1.75, 1.0),
        colors: Sequence[Color] | None = None,
        feature_stages: Sequence[str] | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(None, propagator=propagator, feature_stage=FUSED, init_cfg=init_cfg)
        self.backbones = ModuleList([MODELS.build(backbone) for backbone in backbones])
        count = len(self.backbones)
        given = self.propagator.protocol.color if self.propagator is not None else 'rgb'
        self.weights = tuple(map(float, weights))
        self.colors = (given,) * count if colors is None else tuple(colors)
        self.feature_stages = (
            tuple(network.stages[-1] for network in self.backbones) if feature_stages is None else tuple(feature_stages)
        )
        self._sha8: tuple[str | None, ...] = (None,) * count
        self._check()
        self.colors = tuple(map(color_of, self.backbones, self.colors))
        for network, stage in zip(self.backbones, self.feature_stages, strict=True):
            network.keep_stages({stage})

    def _check(self) -> None:
        count = len(self.backbones)
        lengths = {name: len(getattr(self, name)) for name in ('weights', 'colors', 'feature_stages')}
        if count < 2 or set(lengths.values()) != {count}:
            raise InputError(
                'LateFusion needs two or more backbones, each with a weight, a colour and a stage; got '
                f'{count} backbones, {", ".join(f"{size} {name}" for name, size in lengths.items())}.'
            )
        for weight in self.weights:
            check_number('LateFusion: weights', weight, 0)
        if max(self.weights) == 0:
            raise InputError(f'LateFusion: one of the weights must be positive, got {self.weights}.')
        for number, (color, stage) in enumerate(zip(self.colors, self.feature_stages, strict=True)):
            if isinstance(color, str):
                check_choice(f'colors[{number}]', color, (*COLORS, NETWORK))
            check_choice(f'feature_stages[{number}]', stage, self.backbones[number].stages)

    def networks(self) -> list[tuple[nn.Module, dict[str, Any] | None]]:
        """Each network, and its geometry."""
        rows = zip(self.backbones, self.feature_stages, self.colors, strict=True)
        return [(network, geometry_of(network, stage, color)) for network, stage, color in rows]

    def init_weights(self) -> None:
        """Each network as its ``init_cfg`` says; checkpoints are loaded strictly and enter the record of the protocol.

        Raises:
            FileNotFoundError, ValueError: a checkpoint does not exist, or does not fit its network.
        """
        super().init_weights()
        files = self._files()
        self._sha8 = tuple(None if file is None else sha8(file) for file in files)

    def _files(self) -> list[str | None]:
        """Checkpoint of each network."""
        return [network.checkpoint if isinstance(network, LoadedBackbone) else None for network in self.backbones]

    @property
    def protocol(self) -> dict[str, Any] | None:
        """The protocol's record with ``fusion``, a list of the networks with weight, colours, stage and checkpoint.

        ``color`` is then a list too; it counts as changed where a network sees other colours than the preset has.
        """
        record = super().protocol
        if record is None:
            return None
        given = self._propagator().protocol.color
        if any(color != color_of(network, given) for network, color in zip(self.backbones, self.colors, strict=True)):
            record['changed'] = sorted({*record['changed'], 'color'})
        colors = [color if isinstance(color, str) else list(map(list, color)) for color in self.colors]
        networks, files = zip(self.backbones, self._sha8, strict=True), self._files()
        rows = zip(networks, self.weights, colors, self.feature_stages, files, strict=True)
        fusion = [
            dict(
                network=type(network).__name__,
                weight=weight,
                color=color,
                feature_stage=stage,
                checkpoint=None if file is None else Path(file).name,
                sha8=digest,
            )
            for (network, digest), weight, color, stage, file in rows
        ]
        return dict(record, color=colors, fusion=fusion)

    @property
    def input_colors(self) -> tuple[Color, ...]:
        """Colours of the networks, three channels of the input for each."""
        return self.colors

    def extract_feat(self, frames: Tensor) -> dict[str, Tensor]:
        """Fused features of length 1.

        Args:
            frames: ``[B, 3 * networks, H, W]``, three normalised channels per network, in their colours.

        Returns:
            ``fused`` to ``[B, sum of the networks' d, h, w]``.

        Raises:
            ValueError: the networks give maps of different sizes.
        """
        maps = [network(frame)[-1] for network, frame in zip(self.backbones, frames.split(3, dim=1), strict=True)]
        if len({tuple(feature.shape[-2:]) for feature in maps}) > 1:
            grids = ', '.join(f'{feature.shape[-2]} x {feature.shape[-1]}' for feature in maps)
            raise InputError(
                f'LateFusion compares cell by cell, but for a frame of {frames.shape[-2]} x {frames.shape[-1]} (height '
                f'x width) the networks give grids of {grids}. Give them one stride (strides, pool, patch size). If '
                'they have one, make both sides of the frames multiples of it: '
                'model.propagator.protocol.short_side=480 model.propagator.protocol.multiple=8, or its size=H,W.'
            )
        norm = sum(weight**2 for weight in self.weights) ** 0.5
        parts = [
            F.normalize(feature.float(), dim=1) * (weight / norm)
            for feature, weight in zip(maps, self.weights, strict=True)
        ]
        return {FUSED: torch.cat(parts, dim=1).to(maps[0].dtype)}
