"""Metrics for MMEngine's evaluator; each reduces a video to numbers when it is finished."""

from stt_mm.evaluation.metrics.badja import BADJAMetric
from stt_mm.evaluation.metrics.base import VideoMetric
from stt_mm.evaluation.metrics.davis import DAVISMetric
from stt_mm.evaluation.metrics.dumped import claim_dump
from stt_mm.evaluation.metrics.jhmdb import JHMDBMetric
from stt_mm.evaluation.metrics.object_video import ObjectVideoMetric
from stt_mm.evaluation.metrics.records import completed, forget_records
from stt_mm.evaluation.metrics.tap_vid import TAPVidMetric
from stt_mm.evaluation.metrics.vip import VIPInstanceMetric, VIPMetric
from stt_mm.evaluation.metrics.youtube_vos import YouTubeVOSMetric

__all__ = [
    'BADJAMetric',
    'DAVISMetric',
    'JHMDBMetric',
    'ObjectVideoMetric',
    'TAPVidMetric',
    'VIPInstanceMetric',
    'VIPMetric',
    'VideoMetric',
    'YouTubeVOSMetric',
    'claim_dump',
    'completed',
    'forget_records',
]
