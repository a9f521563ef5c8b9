"""Frames to feature maps."""

from stt_mm.models.backbones.color_patches import ColorPatches
from stt_mm.models.backbones.resnet import CorrespondenceResNet

__all__ = ['ColorPatches', 'CorrespondenceResNet']
