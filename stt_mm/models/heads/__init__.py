"""Features to losses."""

from stt_mm.models.heads.compactness import CompactnessHead
from stt_mm.models.heads.global_correlation import GlobalCorrelationHead
from stt_mm.models.heads.local_correlation import LocalCorrelationHead
from stt_mm.models.heads.reconstruction import ReconstructionHead

__all__ = ['CompactnessHead', 'GlobalCorrelationHead', 'LocalCorrelationHead', 'ReconstructionHead']
