"""Metrics for MMEngine's evaluator; each reduces a video to numbers when it is finished."""

from .base import VideoMetric, completed, forget_records
from .davis import DAVISMetric
from .dumped import claim_dump
from .jhmdb import JHMDBMetric
from .vip import VIPInstanceMetric, VIPMetric
from .youtube_vos import YouTubeVOSMetric

__all__ = [
    'DAVISMetric', 'JHMDBMetric', 'VIPInstanceMetric', 'VIPMetric', 'VideoMetric', 'YouTubeVOSMetric',
    'claim_dump', 'completed', 'evaluate_instance_folders', 'forget_records',
]  # fmt: skip
