"""Trained models on one's own videos."""

from .video_propagator import FrameResult, VideoPropagator

__all__ = ['FrameResult', 'VideoPropagator']
