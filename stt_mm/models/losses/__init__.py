"""Distances of two affinities and of two frames."""

from stt_mm.models.losses.affinity_loss import AffinityLoss
from stt_mm.models.losses.reconstruction_loss import ReconstructionLoss

__all__ = ['AffinityLoss', 'ReconstructionLoss']
