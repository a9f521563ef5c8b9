"""What holds a backbone to an earlier task."""

from stt_mm.models.penalties.ewc import EWCPenalty
from stt_mm.models.penalties.lwf import LwFPenalty
from stt_mm.models.penalties.penalty import Penalty, build_penalty, check_start

__all__ = ['EWCPenalty', 'LwFPenalty', 'Penalty', 'build_penalty', 'check_start']
