"""ResNet with the geometry that dense correspondence needs."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from mmengine.logging import MMLogger
from mmengine.model import BaseModule, constant_init
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stt_mm.errors import InputError, library_errors
from stt_mm.models.backbones.residual import BasicBlock, Bottleneck, ResidualBlock, residual_stage
from stt_mm.models.backbones.wrapped import pretrained
from stt_mm.models.position import PositionMap
from stt_mm.registry import MODELS
from stt_mm.utils.checks import check_choice, check_count, check_value
from stt_mm.utils.weights import LoadReport, load_backbone

STEM_CHANNELS = 64
# Kind and number of the blocks of each stage, res2 first.
DEPTHS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
POOLS = {
    'none': nn.Identity,
    'max': lambda: nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    'avg': lambda: nn.AvgPool2d(kernel_size=3, stride=2, padding=1),
}


# Pool of the stem, and stride of the first block of each stage, res2 first.
GEOMETRIES = {
    'stride8': ('none', (1, 2, 2, 4)),
    'stride4': ('avg', (1, 1, 1, 8)),
    'stride4_pyramid': ('none', (1, 1, 2, 8)),
    'stride4_mast': ('none', (1, 2, 1, 1)),
    'stride8_maxpool': ('max', (1, 2, 1, 1)),
    'stride4_maxpool': ('max', (1, 1, 1, 1)),
    'standard': ('max', (1, 2, 2, 2)),
}


Geometry = str | tuple[Literal['none', 'max', 'avg'], Sequence[int]]


def pool_and_strides(geometry: Geometry) -> tuple[str, tuple[int, ...]]:
    """What a geometry consists of: the pool of the stem and a stride for each of res2, res3, ...

    Args:
        geometry: a name in :data:`GEOMETRIES`, or a pool and 1 to 4 strides as they stand there.

    Raises:
        ValueError: there is no such name or pool, or not 1 to 4 strides.
    """
    if isinstance(geometry, str):
        check_choice('geometry', geometry, GEOMETRIES)
        return GEOMETRIES[geometry]
    check_value('geometry', geometry, Geometry)
    pool, strides = geometry
    if not 1 <= len(strides) <= 4:
        raise InputError(f'geometry must have 1 to 4 strides, got {geometry!r}.')
    return pool, tuple(strides)


@MODELS.register_module()
class CorrespondenceResNet(BaseModule):
    """A ResNet in a geometry of choice; parameter names are torchvision's whatever it is.

    ===================  ========  =============  =========================  =======================================
    geometry             pool      strides        grids of a 256 x 256 input  use
    ===================  ========  =============  =========================  =======================================
    ``stride8``          none      (1, 2, 2, 4)   res3 64, res4 32, res5 8   student, and its evaluation
    ``stride4``          average   (1, 1, 1, 8)   res3 64, res4 64, res5 8   the same, as the released weights have it
    ``stride4_pyramid``  none      (1, 1, 2, 8)   res3 128, res4 64, res5 8  the same, with a pyramid
    ``stride4_mast``     none      (1, 2, 1, 1)   res4 64, res5 64           MAST, LIIR
    ``stride8_maxpool``  maximum   (1, 2, 1, 1)   res4 32, res5 32           CRW, VFS, SFC; evaluation of stage 1
    ``stride4_maxpool``  maximum   (1, 1, 1, 1)   res4 64                    evaluation of stage 1 at stride 4
    ``standard``         maximum   (1, 2, 2, 2)   res4 16, res5 8            teacher, stage 1
    ===================  ========  =============  =========================  =======================================

    Args:
        depth: 18, 34, 50, 101 or 152.
        geometry: a name of the table, or ``(pool, strides)``: ``none``, ``max`` or ``avg``, and the stride of the first
            block of each stage, res2 first.
        out_indices: stages that are returned; 0 is res2, 3 is res5. Stages above the last one are not built, unless
            there is a projection, which is returned last and makes ``()`` possible.
        padding_mode: what padded convolutions see beyond the border; ``reflect`` for CRW's own network.
        frozen_stages: stem, position map and stages up to this one get no gradient; -1 freezes nothing.
        norm_eval: keep BatchNorm statistics fixed in training.
        with_cp: activation checkpointing inside the blocks, slower and leaner.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` loads any recognised checkpoint strictly
            (``stt_mm.utils.weights``), ``prefix=PREFIX`` what lies below it in any other, and with
            ``new=('position',)`` one of a network without a position map; ``None``: Kaiming, the last BatchNorm of
            each block starting at 0.
        widths: channels of the map of each stage, res2 first; ``None``: 64, 128, 256, 512, times 4 from depth 50 on.
        projection: channels of a 3 x 3 convolution with bias and without a norm on the map of the geometry's last
            stage; its map is the stage ``projection``. ``None``: there is none.
        position: config of a :class:`stt_mm.models.PositionMap`, which is added after the norm and the ReLU of the
            stem. ``None``: there is none.

    Attributes:
        report: what the checkpoint of ``init_cfg`` filled; ``None`` without one, or before it is read.
    """

    def __init__(
        self,
        depth: int,
        geometry: Geometry = 'stride8',
        out_indices: Sequence[int] = (1, 2, 3),
        padding_mode: Literal['zeros', 'reflect'] = 'zeros',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
        widths: Sequence[int] | None = None,
        projection: int | None = None,
        position: dict | None = None,
    ) -> None:
        pool, strides = pool_and_strides(geometry)
        check_choice('depth', depth, DEPTHS)
        check_choice('padding_mode', padding_mode, ('zeros', 'reflect'))
        if not (out_indices or projection) or not set(out_indices) <= set(range(len(strides))):
            raise InputError(
                f'out_indices must be stages of the geometry, 0 to {len(strides) - 1}, got {tuple(out_indices)}.'
            )
        block, counts = DEPTHS[depth]
        if widths is not None:
            check_value('widths', widths, Sequence[int])
            for width in widths:
                check_count('widths', width)
                if width % block.expansion:
                    raise InputError(f'widths must be multiples of 4 from depth 50 on, got {tuple(widths)}.')
            if len(widths) != len(strides):
                raise InputError(f'widths must be one per stride, {len(strides)}, got {tuple(widths)}.')
        if projection is None:
            strides = strides[: max(out_indices) + 1]
        else:
            check_count('projection', projection)
        if frozen_stages > len(strides):
            raise InputError(
                f'frozen_stages must be at most {len(strides)}, as many as there are, got {frozen_stages}.'
            )
        found = None
        if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
            found, init_cfg = pretrained(type(self).__name__, init_cfg), None
        super().__init__(
            init_cfg or [dict(type='Kaiming', layer=['Conv2d']), dict(type='Constant', val=1, layer=['_BatchNorm'])]
        )
        self.depth = depth
        self.strides = strides
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.out_indices = tuple(out_indices)
        self.pretrained = found
        self.report: LoadReport | None = None
        self.pool = pool
        self.padding_mode = padding_mode
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = POOLS[pool]()
        self.res_layers: list[str] = []
        channels = STEM_CHANNELS
        with library_errors('CorrespondenceResNet cannot be built'):
            for index, stride in enumerate(strides):
                width = STEM_CHANNELS * block.expansion * 2**index if widths is None else widths[index]
                self.res_layers.append(f'layer{index + 1}')
                stage = residual_stage(block, counts[index], channels, width, stride, with_cp)
                self.add_module(self.res_layers[-1], stage)
                channels = width
        self.projection = None if projection is None else nn.Conv2d(channels, projection, 3, padding=1)
        self.position: PositionMap | None = None if position is None else MODELS.build(position)
        if self.position is not None and self.position.channels != STEM_CHANNELS:
            raise InputError(
                f'The stem has {STEM_CHANNELS} channels, the position map {self.position.channels}. '
                f'Set position.channels={STEM_CHANNELS}.'
            )
        self._projects = projection is not None
        self._freeze_stages()
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
        widths = [getattr(self, f'layer{stage + 1}')[-1].out_channels for stage in range(len(self.strides))]
        added = dict(
            projection=None if self.projection is None else self.projection.out_channels,
            position=None if self.position is None else self.position.record,
        )
        return dict(
            network='ResNet',
            depth=self.depth,
            pool=self.pool,
            strides=list(self.strides),
            widths=widths,
            padding=self.padding_mode,
            **{name: value for name, value in added.items() if value is not None},
        )

    def stem_grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of the stem's map, where positions are added, for frames of this height and width."""
        return -(-size[0] // 2), -(-size[1] // 2)

    def train(self, mode: bool = True) -> 'CorrespondenceResNet':
        """As any module; what is frozen, and with ``norm_eval`` each BatchNorm, stays in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        for module in self.modules() if mode and self.norm_eval else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def _freeze_stages(self) -> None:
        """Takes the gradient from the stem and the stages that are frozen."""
        if self.frozen_stages < 0:
            return
        stages = [getattr(self, name) for name in self.res_layers[: self.frozen_stages]]
        for module in (self.conv1, self.bn1, *([] if self.position is None else [self.position]), *stages):
            module.requires_grad_(False)
        for module in (self.bn1, *stages):
            module.eval()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the maps that ``forward`` returns, such as ``('res3', 'res4', 'res5')``."""
        names = tuple(f'res{index + 2}' for index in sorted(self.out_indices))
        return (*names, 'projection') if self._projects else names

    def keep_stages(self, stages: Iterable[str]) -> None:
        """Return only these stages; what lies above the highest of them is not run and gets no gradient.

        Args:
            stages: names among :attr:`stages`.
        """
        wanted = set(stages)
        self.out_indices = tuple(index for index in sorted(self.out_indices) if f'res{index + 2}' in wanted)
        self._projects = self._projects and 'projection' in wanted
        if not self._projects:
            self.res_layers = self.res_layers[: max(self.out_indices) + 1]
            for index in range(max(self.out_indices) + 1, len(self.strides)):
                getattr(self, f'layer{index + 1}').requires_grad_(False)
            if self.projection is not None:
                self.projection.requires_grad_(False)

    def init_weights(self) -> None:
        """Kaiming, or the checkpoint of ``init_cfg``, loaded strictly.

        Raises:
            FileNotFoundError: if the checkpoint does not exist.
            ValueError: if it is not readable, not recognised, or does not fit this network.
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                constant_init(module.last_norm, 0)
        if self.pretrained is not None:
            self.report = load_backbone(self, **self.pretrained)
            MMLogger.get_current_instance().info('%s: %s', type(self).__name__, self.report)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``[B, 3, H, W]`` to one ``[B, d, h, w]`` per name in :attr:`stages`, lowest stage first."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.maxpool(x if self.position is None else self.position(x))
        maps = []
        for index, layer in enumerate(self.res_layers):
            x = getattr(self, layer)(x)
            if index in self.out_indices:
                maps.append(x)
        if self._projects:
            maps.append(self.projection(x))
        return tuple(maps)
