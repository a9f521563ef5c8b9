"""Stage 1, where mmpretrain has no class: DetCo."""

from stt_mm.models.pretrain.detco import DetCo
from stt_mm.models.pretrain.detco_neck import DetCoNeck
from stt_mm.models.pretrain.memory_bank import MemoryBank

__all__ = ['DetCo', 'DetCoNeck', 'MemoryBank']
