"""The projection heads of DetCo: one MLP per stage for images and one for sets of patches."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.necks import MoCoV2Neck
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.registry import MODELS


@MODELS.register_module()
class DetCoNeck(BaseModule):
    """Two MLPs per stage that share nothing: of an image's average feature, and of the features of its patches.

    The features of the patches are averaged over each patch and concatenated in the order in which they come, so that
    the second kind has ``num_patches`` times the input.

    Args:
        in_channels: channels of each stage, lowest first: (64, 128, 256, 512) of ResNet-18.
        hid_channels: width of the hidden layer of both MLPs of each stage. ``None``: that of ``in_channels``, which is
            MoCo v2's rule (the width of the backbone's feature) at every stage. For the patches this is ours: no source
            says it, and their input is ``num_patches`` times as wide.
        out_channels: length of an embedding.
        grid: patches per side of a set; ``num_patches`` is its square.
        init_cfg: initialisation; ``None``: PyTorch's own for linear layers.

    Raises:
        ValueError: if ``hid_channels`` has not one width per stage.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        hid_channels: Sequence[int] | None = None,
        out_channels: int = 128,
        grid: int = 3,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        hidden = in_channels if hid_channels is None else hid_channels
        if len(hidden) != len(in_channels):
            raise InputError(
                f'hid_channels must hold one width for each of the {len(in_channels)} stages, got {tuple(hidden)}.'
            )
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.grid = grid
        self.num_patches = grid * grid
        widths = list(zip(in_channels, hidden, strict=True))
        self.global_mlps = nn.ModuleList(MoCoV2Neck(stage, hid, out_channels) for stage, hid in widths)
        self.local_mlps = nn.ModuleList(
            MoCoV2Neck(self.num_patches * stage, hid, out_channels, with_avg_pool=False) for stage, hid in widths
        )

    def project_global(self, maps: Sequence[Tensor]) -> Tensor:
        """``[B, S, out_channels]`` from one ``[B, C, h, w]`` per stage, in the order of ``in_channels``."""
        self._check(maps)
        return torch.stack([mlp((feature,))[0] for mlp, feature in zip(self.global_mlps, maps, strict=True)], dim=1)

    def project_local(self, maps: Sequence[Tensor]) -> Tensor:
        """``[B, S, out_channels]`` from one ``[B * num_patches, C, h, w]`` per stage; the patches of an image follow
        one another."""
        self._check(maps)
        if len(maps[0]) % self.num_patches:
            raise InputError(f'Expected {self.num_patches} patches for every image, got {len(maps[0])} in all.')
        features = [feature.mean((2, 3)).reshape(-1, self.num_patches * feature.shape[1]) for feature in maps]
        return torch.stack([mlp((feature,))[0] for mlp, feature in zip(self.local_mlps, features, strict=True)], dim=1)

    def _check(self, maps: Sequence[Tensor]) -> None:
        channels = tuple(feature.shape[1] for feature in maps)
        if channels != self.in_channels:
            raise InputError(
                f'DetCoNeck was built for stages of {self.in_channels} channels, the backbone returned '
                f'{channels}: set model.neck.in_channels to these, and all stages in its out_indices.'
            )
