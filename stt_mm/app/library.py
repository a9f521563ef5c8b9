"""The one folder that the page may see: its videos, and what is uploaded to it."""

import json
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from stt_mm.app.frames import Frames
from stt_mm.app.session import SUFFIX, session_folder
from stt_mm.errors import FileError, InputError, MissingInputError, SttMMError, writing
from stt_mm.utils import list_images
from stt_mm.utils.images import IMAGE_SUFFIXES, natural_key
from stt_mm.utils.text import check_name
from stt_mm.utils.video import VIDEO_SUFFIXES

_LARGEST_LIST = 4 << 20  # bytes of the names of the files of an upload
_LONGEST_NAME = 240  # bytes; the names of its session and of what is exported are longer, to 255
_PIECE = 1 << 20
_SPARE = 256 << 20  # bytes that stay free on the disk


class Library:
    """The videos of a folder.

    Args:
        root: the folder.
        max_upload: bytes that one upload may have.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, root: str | Path, max_upload: int) -> None:
        if not os.path.isdir(root):
            raise MissingInputError(f'There is no folder {root}.')
        self.root = Path(root).resolve()
        self.max_upload = max_upload
        self._lock = threading.Lock()

    def path(self, name: str) -> Path:
        """The video or folder of a name.

        Args:
            name: relative to the root, with ``/``; empty for the root.

        Raises:
            ValueError: it leads out of the root, by itself or by a link, or to a hidden or internal folder.
            FileNotFoundError: it is not there.
        """
        if name:
            check_name(name, 'The request')
        hidden = [part for part in name.split('/') if part.startswith('.') or part.endswith(SUFFIX)]
        path = self.root / name
        self._check_inside(path)
        if hidden and name or not path.exists():
            raise MissingInputError(f'There is no {name} in {self.root}.')
        return path

    def video(self, name: str) -> Path:
        """The video of a name, all of whose files lie in the root; see :meth:`path`."""
        path = self.path(name)
        kind = kind_of(path)
        if kind not in ('video', 'frames'):
            raise InputError(f'{name or self.root} is neither a video file nor a folder of images.')
        for image in list_images(path) if kind == 'frames' else ():
            if os.path.islink(image):
                self._check_inside(Path(image))
        return path

    def check_links(self, folder: Path) -> None:
        """Refuse a folder, such as that of a session, which leads out of the root itself or by what is in it."""
        self._check_inside(folder)
        for parent, folders, files in os.walk(folder):
            for place in (Path(parent, name) for name in (*folders, *files)):
                if place.is_symlink():
                    self._check_inside(place)

    def name_of(self, path: Path) -> str:
        """By which :meth:`path` finds a path."""
        return path.relative_to(self.root).as_posix()

    def entries(self, name: str = '') -> list[dict[str, Any]]:
        """What is in a folder: name, kind (``video``, ``frames`` or ``folder``), and whether it has a session."""
        folder = self.path(name)
        if not folder.is_dir():
            raise InputError(f'{name} is no folder.')
        found = []
        for entry in sorted(os.listdir(folder), key=natural_key):
            path = folder / entry
            kind = None if entry.startswith('.') or entry.endswith(SUFFIX) else kind_of(path)
            if kind and path.resolve().is_relative_to(self.root):
                session = (session_folder(path) / 'session.sqlite').is_file()
                found.append(dict(name=self.name_of(path), label=entry, kind=kind, session=session))
        return found

    def upload(self, stream: BinaryIO, length: int) -> str:
        """Take in a video, or the images of one, and return its name.

        Args:
            stream: four bytes, the length of a JSON text in the order of the network; that text,
                ``{"folder": name or null, "files": [[name, bytes], ...]}``; and the files one after the other.
            length: bytes of all together.

        Raises:
            ValueError: it is not so, too long, or holds no video. OSError: there is no room.
        """
        self.check_length(length)
        folder, files = _read_list(stream, length)
        with writing(self.root):
            parent = Path(tempfile.mkdtemp(prefix='.upload-', dir=self.root))
        try:
            target = parent / (folder or files[0][0])
            for name, size in files:
                with writing(name):
                    target.mkdir(exist_ok=True) if folder else None
                    _copy(stream, target / name if folder else target, size)
            try:
                Frames(target)
            except SttMMError as error:
                raise InputError(str(error).replace(str(target), target.name)) from error
            with self._lock:
                place = next(filter(_is_free, _names(self.root, target)))
                with writing(place):
                    target.rename(place)
            return place.name
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    def check_length(self, length: int) -> None:
        """Refuse an upload that is too long, or for which there is no room."""
        if length > self.max_upload:
            raise TooLargeError(
                f'The upload has {length / 1e6:.1f} MB, {self.max_upload / 1e6:.1f} MB are allowed. Put the video into '
                f'{self.root} yourself, or start with a larger --max-upload.'
            )
        free = shutil.disk_usage(self.root).free
        if length + _SPARE > free:
            raise FileError(
                f'The upload has {length / 1e6:.1f} MB, but {self.root} has {free / 1e6:.1f} MB free, of which '
                f'{_SPARE / 1e6:.0f} MB have to stay so.'
            )

    def _check_inside(self, path: Path) -> None:
        if not path.resolve().is_relative_to(self.root):
            raise InputError(f'{path.relative_to(self.root)} leads out of {self.root}, so it is not opened.')


class TooLargeError(InputError):
    """More than may be sent."""


def kind_of(path: Path) -> str | None:
    """``video``, ``frames`` (a folder of images), ``folder`` or ``None`` for anything else."""
    if path.is_file():
        return 'video' if path.suffix.lower() in VIDEO_SUFFIXES else None
    try:
        return ('frames' if list_images(path) else 'folder') if path.is_dir() else None
    except OSError:
        return None  # a folder that may not be read


def _read_list(stream: BinaryIO, length: int) -> tuple[str | None, list[tuple[str, int]]]:
    """The folder and the files of an upload, checked."""
    expected = 'An upload begins with the list of its files: {"folder": name or null, "files": [[name, bytes], ...]}'
    size = struct.unpack('>I', stream.read(4).rjust(4, b'\0'))[0]
    if not 0 < size <= min(_LARGEST_LIST, length - 4):
        raise InputError(f'{expected}; its length is {size} of {length} bytes.')
    try:
        content = json.loads(stream.read(size))
        folder, files = content['folder'], [(name, number) for name, number in content['files']]
        whole = all(type(number) is int and number >= 0 and type(name) is str for name, number in files)
        whole = whole and (folder is None or type(folder) is str)
    except (ValueError, TypeError, KeyError):
        raise InputError(f'{expected}; this one is another text.') from None
    names = [name for name, _ in files]
    if not files or not whole or sum(number for _, number in files) != length - 4 - size:
        raise InputError(f'{expected}, and their bytes make up the rest of the {length} bytes.')
    for name in [*names, *([] if folder is None else [folder])]:
        check_name(name, 'The upload')
        if '/' in name or name.startswith('.') or name.endswith(SUFFIX) or len(name.encode()) > _LONGEST_NAME:
            raise InputError(
                f'The upload holds the name {name!a}. Rename it: no "/", no "." in front, at most {_LONGEST_NAME} '
                'bytes.'
            )
    suffixes = VIDEO_SUFFIXES if folder is None else IMAGE_SUFFIXES
    if folder is None and len(files) > 1:
        raise InputError(f'One video at a time, or the images of one; these are {len(files)} files.')
    for name in names:
        if not name.lower().endswith(suffixes):
            what = 'a video' if folder is None else 'an image'
            raise InputError(f'{name} is not {what} of a known kind: {", ".join(suffixes)}.')
    if len(set(names)) < len(names):
        raise InputError('Two files of the upload have one name.')
    return folder, files


def _copy(stream: BinaryIO, path: Path, size: int) -> None:
    with open(path, 'xb') as file:
        while size:
            piece = stream.read(min(size, _PIECE))
            if not piece:
                raise InputError(f'The upload of {path.name} ended too early.')
            file.write(piece)
            size -= len(piece)


def _names(root: Path, target: Path) -> Iterator[Path]:
    """Names for a file that is new, in turn."""
    yield from (root / f'{target.stem}{f" ({number})" if number > 1 else ""}{target.suffix}' for number in count(1))


def _is_free(place: Path) -> bool:
    """Whether neither a video nor the session of one that was removed has a name, nor a link to nowhere."""
    return not os.path.lexists(place) and not os.path.lexists(session_folder(place))
