"""Evaluation protocols: every number between a video and its score, under one name."""

from stt_mm.protocols.presets import PRESETS, get_protocol
from stt_mm.protocols.protocol import Protocol, completed

__all__ = ['PRESETS', 'Protocol', 'completed', 'get_protocol']
