"""Algorithms: who is fed to whom."""

from stt_mm.models.correspondence.base import Correspondence, load_for_evaluation
from stt_mm.models.correspondence.crw import ContrastiveRandomWalk
from stt_mm.models.correspondence.joint import Joint
from stt_mm.models.correspondence.late_fusion import LateFusion
from stt_mm.models.correspondence.pair import PairReconstruction
from stt_mm.models.correspondence.stt import STT

__all__ = [
    'STT',
    'ContrastiveRandomWalk',
    'Correspondence',
    'Joint',
    'LateFusion',
    'PairReconstruction',
    'load_for_evaluation',
]
