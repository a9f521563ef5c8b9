"""Datasets, their sampler, and (in ``transforms``) their pipelines."""

from .base import VideoDataset
from .benchmark import VideoBenchmark
from .davis import DAVIS
from .samplers import TrainSampler
from .video_folder import VideoFolder
from .youtube_vos import YouTubeVOS

__all__ = ['DAVIS', 'TrainSampler', 'VideoBenchmark', 'VideoDataset', 'VideoFolder', 'YouTubeVOS']
