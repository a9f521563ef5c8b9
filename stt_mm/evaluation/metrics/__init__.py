"""Metrics for MMEngine's evaluator; each reduces a video to numbers when it is finished."""

from .base import VideoMetric
from .davis import DAVISMetric
from .dumped import claim_dump
from .jhmdb import JHMDBMetric
from .records import completed, forget_records
from .vip import VIPInstanceMetric, VIPMetric
from .youtube_vos import YouTubeVOSMetric

__all__ = [
    'DAVISMetric', 'JHMDBMetric', 'VIPInstanceMetric', 'VIPMetric', 'VideoMetric', 'YouTubeVOSMetric',
    'claim_dump', 'completed', 'forget_records',
]  # fmt: skip
