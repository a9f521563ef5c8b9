"""Transforms of clips and of images; for clips every random number comes from ``results['rng']``."""

from .color_jitter import ColorJitter
from .geometric import ClipFlip, ClipRandomResizedCrop, ClipResize
from .images import LoadImage, SeededCompose
from .jigsaw import JigsawMosaic
from .loading import LoadFrames
from .packing import PackClip

__all__ = [
    'ClipFlip', 'ClipRandomResizedCrop', 'ClipResize', 'ColorJitter', 'JigsawMosaic', 'LoadFrames', 'LoadImage',
    'PackClip', 'SeededCompose',
]  # fmt: skip
