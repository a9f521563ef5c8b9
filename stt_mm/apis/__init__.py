"""Trained models on one's own videos."""

from stt_mm.apis.video_propagator import FrameResult, VideoPropagator

__all__ = ['FrameResult', 'VideoPropagator']
