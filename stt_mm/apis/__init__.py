"""Trained models on one's own videos."""

from stt_mm.apis.features import FeatureExtractor
from stt_mm.apis.labels import FrameResult
from stt_mm.apis.matches import Matches, find_matches
from stt_mm.apis.pretrained import load
from stt_mm.apis.result_files import ResultFiles
from stt_mm.apis.video_propagator import VideoPropagator
from stt_mm.models.frame_labels import Edits

__all__ = [
    'Edits',
    'FeatureExtractor',
    'FrameResult',
    'Matches',
    'ResultFiles',
    'VideoPropagator',
    'find_matches',
    'load',
]
