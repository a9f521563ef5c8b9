"""Image files: which there are, in what order, whether their bytes are whole, and reading one that is."""

import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
import simplejpeg
from PIL import BmpImagePlugin, GifImagePlugin, Image, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin

from stt_mm.errors import FileError, InputError, MissingInputError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
_whole: set[int] = set()  # Hashes of data that were checked: training reads each file many times.
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


class FrameError(FileError):
    """A frame or video file that cannot be used: cut off, undecodable, or of another size than its neighbours."""


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key under which ``frame_2`` comes before ``frame_10``."""
    # Every second part is a number.
    return [(int(part) if index % 2 else 0, part) for index, part in enumerate(re.split(r'([0-9]+)', name))]


def walk_folders(root: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder from ``root`` down, with the names of its files, sorted; hidden folders are left out.

    Links are followed, and what they lead to is visited once.
    """
    visited = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield folder, sorted(files)


def list_images(folder: str | Path) -> list[str]:
    """Paths of the image files directly in ``folder``, in natural order; hidden files are left out."""
    names = [name for name in os.listdir(folder) if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')]
    return [os.path.join(folder, name) for name in sorted(names, key=natural_key)]


def read_image(path: str | Path) -> np.ndarray:
    """Decodes one image file.

    Returns:
        uint8 ``[H, W, 3]``, RGB.

    Raises:
        FrameError: the file is empty, cut off, damaged, no image, or of more pixels than ``STT_MM_MAX_PIXELS`` of the
            environment allows (100 million). OpenCV alone would return a half-grey picture.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingInputError(f'Frame not found: {path}.') from None
    except OSError as error:
        raise FrameError(f'Frame {path} cannot be read: {error.strerror or error}.') from error
    return decode_image(data, path)


def decode_image(data: bytes, path: str | Path) -> np.ndarray:
    """The same for the bytes of a file; errors name the ``path`` that they are from."""
    if hash(data) not in _whole:
        try:
            _check(data)
        except ImageFault as fault:
            raise FrameError(f'Frame {path} ({len(data)} bytes) cannot be used: {fault}. {fault.remedy}') from fault
        _whole.add(hash(data))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise FrameError(f'Frame {path} cannot be decoded ({len(data)} bytes). Copy or extract it again.')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check(data: bytes) -> None:
    if data.startswith(JPEG):
        check_jpeg(data)
    elif data.startswith(PNG):
        check_png(data)
    else:
        if data.startswith((b'II', b'MM')):
            _check_tiff(data)
        guarded(open_image(data).load)


def _check_tiff(data: bytes) -> None:
    """Refuses numbers for which no brightness is agreed on, which neither Pillow nor OpenCV turns into a picture."""

    def largest() -> tuple[int, int]:
        # The head of a BigTIFF is longer.
        tags, file = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8]), io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return max(tags.get(258, (1,))), max(tags.get(339, (1,)))

    bits, form = guarded(largest)
    if bits > 16 or form != 1:
        raise ImageFault(
            'its numbers are floating point, signed, or of more than 16 bits',
            'Scale them to a picture of 8 bits and save that.',
        )


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


_SCAN_END = re.compile(rb'\xff+[^\x00\xff\xd0-\xd7]')
_HOLE = bytes(64)
_ONES = b'\xff\0' * 8  # No code is all ones, so a decoder that wants more than there is meets an error behind the scan.
_SOF, _DHT, _SOS, _EOI = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}), 0xC4, 0xDA, 0xD9


def check_jpeg(data: bytes) -> None:
    """Follows the segments and the entropy-coded data of a JPEG to its end; what lies behind that does not matter."""
    kind, zero_codes, parts = None, {}, [JPEG]
    for marker, body, scan in _segments(data):
        if marker in _SOF and len(body) > 5:
            kind = marker
            check_size(int.from_bytes(body[3:5], 'big'), int.from_bytes(body[1:3], 'big'))
        elif marker == _DHT:
            zero_codes.update(_zero_codes(body))
        elif marker == _SOS and kind in (0xC0, 0xC1) and _HOLE in scan and _moves(body, zero_codes):
            raise ImageFault(f'it is damaged: {scan.find(_HOLE)} bytes after the start of the picture there are zeros')
        if marker < 0xE0:  # What applications add, such as thumbnails and comments, is not followed.
            parts += [bytes((0xFF, marker)), (len(body) + 2).to_bytes(2, 'big'), body, scan, _ONES if scan else b'']
    if kind is None:
        raise ImageFault('it holds no picture')
    if kind <= 0xC2 and _decodes(b''.join([*parts, b'\xff\xd9'])) is False:
        raise ImageFault('it is damaged: the picture breaks off or holds a wrong code')
    if warning := _warning(data):
        raise ImageFault(f'it is damaged: {warning}')


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker and content of each segment up to the end mark, and the coded data that follow it."""
    place = 2
    while place + 2 <= len(data):
        if data[place] != 0xFF:
            raise ImageFault(f'it is damaged: no segment begins at byte {place}')
        marker, start = data[place + 1], place + 4
        if marker == _EOI:
            return
        if marker == 0xFF:  # A byte that fills.
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : start], 'big')
        following = _SCAN_END.search(data, end) if marker == _SOS else None
        if end < start or end > len(data) or (marker == _SOS and following is None):
            break
        place = following.start() if following else end
        yield marker, data[start:end], data[end:place]
    raise ImageFault('it is cut off or damaged, its end is missing')


def _zero_codes(tables: bytes) -> dict[int, int]:
    """The symbol whose code is all zeros, which is the first, of each Huffman table in a segment."""
    symbols, place = {}, 0
    while place + 17 < len(tables):
        symbols[tables[place]] = tables[place + 17]
        place += 17 + sum(tables[place + 1 : place + 17])
    return symbols


def _moves(scan_header: bytes, zero_codes: dict[int, int]) -> bool:
    """Whether bits of zero change a block. If so, a long run of them sends all that follows out of range.

    They do not where the codes of zeros mean "as before" and "end of block", as they may in a flat picture.
    """
    tables = scan_header[2 : 1 + 2 * scan_header[0] : 2]
    return any(zero_codes.get(key) for table in tables for key in (table >> 4, 0x10 | table & 15))


def _decodes(data: bytes) -> bool | None:
    """Whether all codes are right for FFmpeg, which follows each block; ``None`` for a form of colour unknown to it."""
    decoder = av.CodecContext.create('mjpeg', 'r')
    decoder.options = {'err_detect': 'explode', 'lowres': '3'}  # An eighth of the size: the codes count, not pixels.
    try:
        return bool(decoder.decode(av.Packet(data)))
    except av.error.PatchWelcomeError:
        return None
    except av.error.FFmpegError:
        return False


def _warning(data: bytes) -> str | None:
    """What libjpeg warns of, which notices data that are left over; ``None`` also for a form unknown to it."""
    try:
        *_, color, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError:
        return None
    try:
        simplejpeg.decode_jpeg(data, 'CMYK' if color == 'CMYK' else 'GRAY', min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        return str(error).removeprefix('Corrupt JPEG data: ')
    return None
