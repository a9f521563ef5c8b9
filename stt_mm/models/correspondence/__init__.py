"""Algorithms: who is fed to whom."""

from stt_mm.models.correspondence.base import Correspondence
from stt_mm.models.correspondence.stt import STT

__all__ = ['STT', 'Correspondence']
