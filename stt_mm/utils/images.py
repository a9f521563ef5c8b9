"""Image files: which there are, in what order, and reading one without accepting half of it."""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stt_mm.errors import FileError, MissingInputError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


class FrameError(FileError):
    """A frame or video file that cannot be used: cut off, undecodable, or of another size than its neighbours."""


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which ``frame_2`` comes before ``frame_10``."""
    parts = re.split(r'([0-9]+)', name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


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
        FileNotFoundError: there is no such file.
        FrameError: the file is empty, cut off or no image. OpenCV alone would return a half-grey picture.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingInputError(f'Frame not found: {path}.') from None
    if not _ends_properly(data):
        _check_strictly(data, path)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise FrameError(f'Frame {path} cannot be decoded ({len(data)} bytes). Copy or extract it again.')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _ends_properly(data: bytes) -> bool:
    if data[:2] == b'\xff\xd8':
        return data.endswith(b'\xff\xd9')
    if data[:8] == b'\x89PNG\r\n\x1a\n':
        return data[-8:-4] == b'IEND'
    return False


def _check_strictly(data: bytes, path: str | Path) -> None:
    """Pillow refuses what is cut off; slow, so only for files whose end does not show that they are whole."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        raise FrameError(
            f'Frame {path} is cut off or no image ({len(data)} bytes; {error}). Copy or extract it again.'
        ) from error
