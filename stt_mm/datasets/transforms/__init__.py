"""Transforms of clips and of images; for clips every random number comes from ``results['rng']``."""

from .geometric import ClipFlip, ClipRandomResizedCrop, ClipResize
from .jigsaw import JigsawMosaic
from .loading import LoadFrames
from .packing import PackClip

__all__ = ['ClipFlip', 'ClipRandomResizedCrop', 'ClipResize', 'JigsawMosaic', 'LoadFrames', 'PackClip']
