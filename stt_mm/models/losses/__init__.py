"""Arithmetic on tensors: two affinities, two frames, or the weights of a network and where they were before."""

from stt_mm.models.losses.affinity_loss import AffinityLoss
from stt_mm.models.losses.ewc import EWCPenalty
from stt_mm.models.losses.reconstruction_loss import ReconstructionLoss

__all__ = ['AffinityLoss', 'EWCPenalty', 'ReconstructionLoss']
