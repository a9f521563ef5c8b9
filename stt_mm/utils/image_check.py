"""Whether the bytes of an image file are whole, and how many pixels they promise, told before they are decoded."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from typing import TypeVar

from PIL import BmpImagePlugin, GifImagePlugin, Image, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin

from stt_mm.errors import InputError

PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8'
MAX_PIXELS = 100_000_000
# Pillow's own opener warns and refuses by a limit of its own, a global one; its plugins do not.
_PLUGINS = (
    (PNG, PngImagePlugin.PngImageFile),
    (b'BM', BmpImagePlugin.BmpImageFile),
    (b'GIF8', GifImagePlugin.GifImageFile),
    (b'RIFF', WebPImagePlugin.WebPImageFile),
    (b'II', TiffImagePlugin.TiffImageFile),
    (b'MM', TiffImagePlugin.TiffImageFile),
    (b'P', PpmImagePlugin.PpmImageFile),
)

T = TypeVar('T')


class ImageFault(InputError):
    """What is wrong with an image, without its name, which the reader of the file adds; and what to do about it."""

    def __init__(self, fault: str, remedy: str = 'Copy, download or extract the file again.') -> None:
        super().__init__(fault)
        self.remedy = remedy


def check_size(width: int, height: int) -> None:
    """Refuses more pixels than ``STT_MM_MAX_PIXELS`` of the environment allows, 100 million without it."""
    text = os.environ.get('STT_MM_MAX_PIXELS', str(MAX_PIXELS))
    if not text.isdecimal():
        raise InputError(f'STT_MM_MAX_PIXELS in the environment must be a whole number, got {text!r}.')
    if width * height > int(text):
        raise ImageFault(
            f'it promises {width} x {height} pixels, more than the limit of {text}',
            'If it is right, set STT_MM_MAX_PIXELS in the environment to raise the limit.',
        )


def check_png(data: bytes) -> None:
    """Walks the chunks of a PNG: their lengths, the checksums of those that matter, and the size of the image."""
    view, place = memoryview(data), len(PNG)
    while place + 12 <= len(view):
        length, kind = struct.unpack_from('>I4s', view, place)
        end = place + 12 + length
        if not kind.isalpha() or (kind == b'IHDR') != (place == len(PNG)) or (kind == b'IHDR' and length != 13):
            raise ImageFault(f'it is damaged: no proper chunk begins at byte {place}')
        if end > len(view):
            raise ImageFault(
                f'it is cut off or damaged: its chunk {kind.decode()} at byte {place} promises {length} '
                f'bytes, {len(view) - place} are left'
            )
        if kind[:1].isupper() and zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], 'big'):
            raise ImageFault(f'it is damaged: the checksum of its chunk {kind.decode()} at byte {place} is wrong')
        if kind == b'IHDR':
            check_size(*struct.unpack_from('>II', view, place + 8))
        if kind == b'IEND':
            return
        place = end
    raise ImageFault('it is cut off, its end is missing')


def guarded(read: Callable[[], T]) -> T:
    """What ``read`` gives. At broken data Pillow and NumPy raise nearly any error; all become :class:`ImageFault`."""
    try:
        return read()
    except Exception as error:
        raise ImageFault(f'it is cut off or damaged ({error or type(error).__name__})') from error


def open_image(data: bytes) -> Image.Image:
    """The image in data that are no JPEG, of a size within the limit; its pixels are not decoded yet.

    Raises:
        ImageFault: the data are cut off, of no kind that is read, or too large.
    """
    plugin = next((plugin for start, plugin in _PLUGINS if data.startswith(start)), None)
    if plugin is None:
        raise ImageFault(f'it is no image of a known kind, it begins with {data[:8]!r}' if data else 'it is empty')
    if plugin is PngImagePlugin.PngImageFile:
        check_png(data)
    image = guarded(lambda: plugin(io.BytesIO(data)))
    check_size(*image.size)
    return image
