"""Metrics for MMEngine's evaluator; each reduces a video to numbers when it is finished."""

from .base import VideoMetric, completed
from .davis import DAVISMetric
from .jhmdb import JHMDBMetric
from .vip import VIPInstanceMetric, VIPMetric
from .youtube_vos import YouTubeVOSMetric

__all__ = [
    'DAVISMetric', 'JHMDBMetric', 'VIPInstanceMetric', 'VIPMetric', 'VideoMetric', 'YouTubeVOSMetric',
    'completed', 'evaluate_instance_folders',
]  # fmt: skip
