"""Frames to feature maps."""

from stt_mm.models.backbones.color_patches import ColorPatches
from stt_mm.models.backbones.interface import Backbone, GeometricBackbone, LoadedBackbone, StagedBackbone, geometry_of
from stt_mm.models.backbones.mmpretrain import MMPretrainBackbone
from stt_mm.models.backbones.resnet import CorrespondenceResNet
from stt_mm.models.backbones.timm import TimmBackbone

__all__ = [
    'Backbone',
    'ColorPatches',
    'CorrespondenceResNet',
    'GeometricBackbone',
    'LoadedBackbone',
    'MMPretrainBackbone',
    'StagedBackbone',
    'TimmBackbone',
    'geometry_of',
]
