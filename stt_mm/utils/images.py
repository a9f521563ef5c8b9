"""Image files: which there are, in what order, and reading one without accepting half of it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from stt_mm.errors import FileError, MissingInputError
from stt_mm.utils.image_check import JPEG, PNG, ImageFault, check_jpeg, check_png, guarded, open_image

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
_whole: set[int] = set()  # Hashes of data that were checked: training reads each file many times.


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
        guarded(open_image(data).load)
