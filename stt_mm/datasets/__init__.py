"""Datasets of training clips and of benchmarks, their samplers, and (in ``transforms``) their pipelines."""

from .base import VideoDataset
from .benchmark import UnscorableVideos, VideoBenchmark
from .davis import DAVIS
from .image_folder import ImageFolder
from .jhmdb import JHMDB
from .samplers import LongestFirstSampler, TrainSampler
from .video_folder import VideoFolder
from .vip import VIP
from .youtube_vos import YouTubeVOS
from .youtube_vos_benchmark import YouTubeVOSBenchmark

__all__ = [
    'DAVIS', 'ImageFolder', 'JHMDB', 'LongestFirstSampler', 'TrainSampler', 'UnscorableVideos', 'VIP',
    'VideoBenchmark', 'VideoDataset', 'VideoFolder', 'YouTubeVOS', 'YouTubeVOSBenchmark',
]  # fmt: skip
