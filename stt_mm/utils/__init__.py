"""Files and arrays: images, videos, masks, random numbers. Imports of the project only its errors."""

from stt_mm.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'checks': ('check_choice', 'check_number'),
        'frames': ('FrameSequence',),
        'images': ('FrameError', 'list_images', 'natural_key', 'read_image'),
        'masks': ('read_mask', 'read_object_ids', 'resize_mask', 'voc_palette', 'write_mask'),
        'random': ('generator',),
        'video': ('VideoReader',),
    },
)
