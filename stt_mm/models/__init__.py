"""Everything that a config's ``model`` can name."""

from stt_mm.models.backbones import (
    ColorPatches,
    CorrespondenceResNet,
    MMPretrainBackbone,
    TimmBackbone,
    TorchHubBackbone,
)
from stt_mm.models.correspondence import (
    STT,
    ContrastiveRandomWalk,
    Correspondence,
    Joint,
    LateFusion,
    PairReconstruction,
    load_for_evaluation,
)
from stt_mm.models.data_preprocessor import ClipDataPreprocessor
from stt_mm.models.frozen_teacher import FrozenTeacher
from stt_mm.models.heads import CompactnessHead, GlobalCorrelationHead, LocalCorrelationHead, ReconstructionHead
from stt_mm.models.losses import AffinityLoss, ColorClassLoss, ReconstructionLoss
from stt_mm.models.penalties import EWCPenalty, LwFPenalty
from stt_mm.models.position import PositionMap
from stt_mm.models.pretrain import DetCo, DetCoNeck, PenalisedMoCo
from stt_mm.models.propagator import LabelPropagator
from stt_mm.models.tracker import FrameLabels, Tracker
from stt_mm.models.video_negatives import VideoNegatives

__all__ = [
    'STT',
    'AffinityLoss',
    'ClipDataPreprocessor',
    'ColorClassLoss',
    'ColorPatches',
    'CompactnessHead',
    'ContrastiveRandomWalk',
    'Correspondence',
    'CorrespondenceResNet',
    'DetCo',
    'DetCoNeck',
    'EWCPenalty',
    'FrameLabels',
    'FrozenTeacher',
    'GlobalCorrelationHead',
    'Joint',
    'LabelPropagator',
    'LateFusion',
    'LocalCorrelationHead',
    'LwFPenalty',
    'MMPretrainBackbone',
    'PairReconstruction',
    'PenalisedMoCo',
    'PositionMap',
    'ReconstructionHead',
    'ReconstructionLoss',
    'TimmBackbone',
    'TorchHubBackbone',
    'Tracker',
    'VideoNegatives',
    'load_for_evaluation',
]
