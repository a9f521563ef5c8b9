"""ResNet with the geometry that dense correspondence needs."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from mmengine.logging import MMLogger
from torch import Tensor, nn

from stt_mm.errors import InputError, library_errors
from stt_mm.models.backbones.wrapped import pretrained
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice
from stt_mm.utils.weights import LoadReport, load_backbone

with warnings.catch_warnings():
    # mmcv-lite warns about a compiled operator that nothing here uses.
    warnings.filterwarnings('ignore', message='Fail to import')
    from mmpretrain.models.backbones import ResNet

POOLS = {
    'none': nn.Identity,
    'max': lambda: nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    'avg': lambda: nn.AvgPool2d(kernel_size=3, stride=2, padding=1),
}


@MODELS.register_module()
class CorrespondenceResNet(ResNet):
    """mmpretrain's ResNet with a choice of stem pool; parameter names are torchvision's whatever the geometry.

    ======================  ===========  ================  ==============================
    use                     pool         strides           grids for a 256 x 256 input
    ======================  ===========  ================  ==============================
    student, stride 8       ``none``     ``(1, 2, 2, 4)``  res3 64, res4 32, res5 8
    student, stride 4       ``avg``      ``(1, 1, 1, 8)``  res3 64, res4 64, res5 8
    teacher                 ``max``      ``(1, 2, 2, 2)``  res5 8
    VFS, CRW                ``max``      ``(1, 2, 1)``     res4 32
    ======================  ===========  ================  ==============================

    Args:
        depth: 18, 34, 50, 101 or 152.
        strides: stride of the first block of each stage, res2 first. Their number is the number of stages built.
        out_indices: stages that are returned; 0 is res2, 3 is res5. Stages above the last one are not run.
        pool: pooling after the 7 x 7 stem.
        padding_mode: what padded convolutions see beyond the border; ``reflect`` for CRW's own network.
        frozen_stages: stem and stages up to this one get no gradient; -1 freezes nothing.
        norm_eval: keep BatchNorm statistics fixed in training.
        with_cp: activation checkpointing inside the blocks, slower and leaner.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` loads any recognised checkpoint strictly
            (``stt_mm.utils.weights``), ``prefix=PREFIX`` what lies below it in any other; ``None``: Kaiming, the last
            BatchNorm of each block starting at 0.

    Attributes:
        report: what the checkpoint of ``init_cfg`` filled; ``None`` without one, or before it is read.
    """

    def __init__(
        self,
        depth: int,
        strides: Sequence[int] = (1, 2, 2, 4),
        out_indices: Sequence[int] = (1, 2, 3),
        pool: Literal['none', 'max', 'avg'] = 'none',
        padding_mode: Literal['zeros', 'reflect'] = 'zeros',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        check_choice('pool', pool, POOLS)
        check_choice('padding_mode', padding_mode, ('zeros', 'reflect'))
        if not 1 <= len(strides) <= 4 or not set(out_indices) <= set(range(len(strides))):
            raise InputError(
                'strides must name 1 to 4 stages and out_indices stages among them, got '
                f'strides={tuple(strides)}, out_indices={tuple(out_indices)}.'
            )
        found = None
        if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
            found, init_cfg = pretrained(type(self).__name__, init_cfg), None
        with library_errors('CorrespondenceResNet cannot be built'):
            super().__init__(
                depth,
                num_stages=len(strides),
                strides=tuple(strides),
                dilations=(1,) * len(strides),
                out_indices=tuple(out_indices),
                frozen_stages=frozen_stages,
                norm_eval=norm_eval,
                with_cp=with_cp,
                init_cfg=init_cfg
                or [
                    dict(type='Kaiming', layer=['Conv2d']),
                    dict(type='Constant', val=1, layer=['_BatchNorm']),
                ],
            )
        self.pretrained = found
        self.report: LoadReport | None = None
        self.pool = pool
        self.padding_mode = padding_mode
        self.maxpool = POOLS[pool]()
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and any(module.padding):
                module.padding_mode = padding_mode
        self.keep_stages(self.stages)

    @property
    def checkpoint(self) -> str | None:
        """File of ``init_cfg``."""
        return self.pretrained and self.pretrained['path']

    def geometry(self) -> dict[str, Any]:
        """What decides the features besides the weights, as plain data, strides and widths from res2 on."""
        widths = [getattr(self, f'layer{stage + 1}')[-1].out_channels for stage in range(self.num_stages)]
        return dict(
            network='ResNet',
            depth=self.depth,
            pool=self.pool,
            strides=list(self.strides),
            widths=widths,
            padding=self.padding_mode,
        )

    def train(self, mode: bool = True) -> 'CorrespondenceResNet':
        """As in mmpretrain, but like any module it returns itself."""
        super().train(mode)
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the maps that ``forward`` returns, such as ``('res3', 'res4', 'res5')``."""
        return tuple(f'res{index + 2}' for index in sorted(self.out_indices))

    def keep_stages(self, stages: Iterable[str]) -> None:
        """Return only these stages; what lies above the highest of them is not run and gets no gradient.

        Args:
            stages: names among :attr:`stages`.
        """
        self.out_indices = tuple(index for index in sorted(self.out_indices) if f'res{index + 2}' in set(stages))
        self.res_layers = self.res_layers[: max(self.out_indices) + 1]
        for index in range(max(self.out_indices) + 1, self.num_stages):
            getattr(self, f'layer{index + 1}').requires_grad_(False)

    def init_weights(self) -> None:
        """Kaiming, or the checkpoint of ``init_cfg``, loaded strictly.

        Raises:
            FileNotFoundError: if the checkpoint does not exist.
            ValueError: if it is not readable, not recognised, or fits less than 99 % of this network.
        """
        super().init_weights()
        if self.pretrained is not None:
            self.report = load_backbone(self, **self.pretrained)
            MMLogger.get_current_instance().info('%s: %s', type(self).__name__, self.report)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``[B, 3, H, W]`` to one ``[B, d, h, w]`` per stage of ``out_indices``, lowest stage first."""
        return super().forward(x)
