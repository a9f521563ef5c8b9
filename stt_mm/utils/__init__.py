"""Files and arrays: images, videos, masks, random numbers. Imports nothing else of the project."""

from .checks import check_choice, check_number
from .frames import FrameSequence
from .images import FrameError, list_images, natural_key, read_image
from .masks import read_mask, read_object_ids, resize_mask, write_mask
from .palette import voc_palette
from .random import generator
from .video import VideoReader

__all__ = [
    'FrameError', 'FrameSequence', 'VideoReader', 'check_choice', 'check_number', 'generator', 'list_images',
    'natural_key', 'read_image', 'read_mask', 'read_object_ids', 'resize_mask', 'voc_palette', 'write_mask',
]  # fmt: skip
