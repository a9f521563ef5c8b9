"""Metrics for MMEngine's evaluator; each reduces a video to numbers when it is finished."""

from .base import VideoMetric, completed
from .davis import DAVISMetric

__all__ = ['DAVISMetric', 'VideoMetric', 'completed']
