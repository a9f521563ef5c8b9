"""Files and arrays: images, videos, masks, random numbers. Imports of the project only its errors."""

from stt_mm.utils.checks import check_choice, check_number
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import FrameError, list_images, natural_key, read_image
from stt_mm.utils.masks import read_mask, read_object_ids, resize_mask, voc_palette, write_mask
from stt_mm.utils.random import generator
from stt_mm.utils.video import VideoReader

__all__ = [
    'FrameError',
    'FrameSequence',
    'VideoReader',
    'check_choice',
    'check_number',
    'generator',
    'list_images',
    'natural_key',
    'read_image',
    'read_mask',
    'read_object_ids',
    'resize_mask',
    'voc_palette',
    'write_mask',
]
