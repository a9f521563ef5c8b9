"""Datasets of training clips and of benchmarks, their samplers, and (in ``transforms``) their pipelines."""

from stt_mm.datasets.badja import BADJA
from stt_mm.datasets.base import VideoDataset
from stt_mm.datasets.benchmark import UnscorableVideos, VideoBenchmark
from stt_mm.datasets.davis import DAVIS
from stt_mm.datasets.image_folder import ImageFolder
from stt_mm.datasets.jhmdb import JHMDB
from stt_mm.datasets.object_videos import LVOS, MOSE, SAV
from stt_mm.datasets.samplers import LongestFirstSampler, TrainSampler
from stt_mm.datasets.tap_vid import TAPVid
from stt_mm.datasets.video_folder import VideoFolder
from stt_mm.datasets.vip import VIP
from stt_mm.datasets.youtube_vos import YouTubeVOS
from stt_mm.datasets.youtube_vos_benchmark import YouTubeVOSBenchmark

__all__ = [
    'BADJA',
    'DAVIS',
    'ImageFolder',
    'JHMDB',
    'LVOS',
    'LongestFirstSampler',
    'MOSE',
    'SAV',
    'TAPVid',
    'TrainSampler',
    'UnscorableVideos',
    'VIP',
    'VideoBenchmark',
    'VideoDataset',
    'VideoFolder',
    'YouTubeVOS',
    'YouTubeVOSBenchmark',
]
