"""Everything that a config's ``model`` can name."""

from stt_mm.models.backbones import ColorPatches, CorrespondenceResNet, MMPretrainBackbone, TimmBackbone
from stt_mm.models.correspondence import STT, Correspondence, Joint, LateFusion, LwFPenalty
from stt_mm.models.data_preprocessor import ClipDataPreprocessor
from stt_mm.models.frozen_teacher import FrozenTeacher
from stt_mm.models.heads import GlobalCorrelationHead, LocalCorrelationHead, ReconstructionHead
from stt_mm.models.losses import AffinityLoss, EWCPenalty, ReconstructionLoss
from stt_mm.models.pretrain import DetCo, DetCoNeck
from stt_mm.models.pretrain.penalised_moco import PenalisedMoCo
from stt_mm.models.propagator import LabelPropagator

__all__ = [
    'STT', 'AffinityLoss', 'ClipDataPreprocessor', 'ColorPatches', 'Correspondence', 'CorrespondenceResNet', 'DetCo',
    'DetCoNeck', 'EWCPenalty', 'FrozenTeacher', 'GlobalCorrelationHead', 'Joint', 'LabelPropagator', 'LateFusion',
    'LocalCorrelationHead', 'LwFPenalty', 'MMPretrainBackbone', 'PenalisedMoCo', 'ReconstructionHead',
    'ReconstructionLoss', 'TimmBackbone',
]
