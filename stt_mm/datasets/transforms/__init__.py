"""Transforms of clips; every random number comes from ``results['rng']``."""

from .geometric import ClipFlip, ClipRandomResizedCrop, ClipResize
from .loading import LoadFrames
from .packing import PackClip

__all__ = ['ClipFlip', 'ClipRandomResizedCrop', 'ClipResize', 'LoadFrames', 'PackClip']
