"""Transforms of clips and of images; for clips every random number comes from ``results['rng']``."""

from stt_mm.datasets.transforms.clips import LoadFrames, PackClip
from stt_mm.datasets.transforms.color_jitter import ColorJitter
from stt_mm.datasets.transforms.geometric import ClipFlip, ClipRandomResizedCrop, ClipResize
from stt_mm.datasets.transforms.images import LoadImage, SeededCompose
from stt_mm.datasets.transforms.jigsaw import JigsawMosaic

__all__ = [
    'ClipFlip',
    'ClipRandomResizedCrop',
    'ClipResize',
    'ColorJitter',
    'JigsawMosaic',
    'LoadFrames',
    'LoadImage',
    'PackClip',
    'SeededCompose',
]
