"""Tracked points of one video in a ``.npz`` file, in the form of TAP-Vid."""

import io
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.pickles import array_of
from stt_mm.utils.text import absent

MAX_BYTES = 2**28  # of the two arrays of a file
MAX_POSITION = 2.0  # a visible point is in the picture, whose sides are 1


def read_point_file(path: str | Path, frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The tracks of a ``.npz`` file with ``points`` and ``occluded``.

    Args:
        path: the file.
        frames: of the video, if that is known.

    Returns:
        Numbers ``[N, T, 2]``, (x, y) from (0, 0), the upper left corner of the picture, to (1, 1); bool ``[N, T]``.

    Raises:
        FileNotFoundError, ValueError: it is not there, is no such file, or holds other shapes.
    """
    if not Path(path).is_file():
        raise MissingInputError(f'Points: {absent(path, "file")}.')
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(
                f'{path} unpacks to {size >> 20} MiB, too much for points (at most {MAX_BYTES >> 20} MiB).'
            )
        with np.load(path, allow_pickle=False) as arrays:
            points, occluded = arrays.get('points'), arrays.get('occluded')
    except InputError:
        raise
    except Exception as error:  # at broken data NumPy raises nearly any
        raise InputError(
            f'{path} cannot be read ({error}). Write it by numpy.savez(path, points=, occluded=).'
        ) from error
    if frames is None:
        frames = points.shape[1] if isinstance(points, np.ndarray) and points.ndim == 3 else 1
    return checked_tracks(points, occluded, frames, str(path))


def checked_tracks(points: Any, occluded: Any, frames: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The same, checked: numbers ``[N, T, 2]`` and bool ``[N, T]``; ``where`` begins the messages."""
    for name, part, shape in (('points', points, (frames, 2)), ('occluded', occluded, (frames,))):
        numbers = isinstance(part, np.ndarray) and part.dtype.kind in 'biuf'
        if not numbers or part.ndim != len(shape) + 1 or not len(part) or part.shape[1:] != shape:
            raise InputError(
                f'{where}: {name} must be numbers {["N", *shape]} for {frames} frames, got {kind_of(part)}.'.replace(
                    "'", ''
                )
            )
    if len(points) != len(occluded):
        raise InputError(f'{where}: {len(points)} points, but occlusions of {len(occluded)}.')
    occluded = occluded != 0
    shown = points[~occluded]
    if not np.isfinite(shown).all() or np.abs(shown).max(initial=0) > MAX_POSITION:
        raise InputError(
            f'{where}: visible points must lie between (0, 0), the upper left corner of the picture, and (1, 1), got '
            f'{np.abs(shown).max():g}. Divide positions in pixels by the width and the height.'
        )
    return points, occluded


def kind_of(value: Any) -> str:
    """What a value of a file is, for messages."""
    array = array_of(value) if array_of(value) is not None else value
    if isinstance(array, np.ndarray):
        return f'{array.dtype} {list(array.shape)}'
    if isinstance(value, dict):
        return f'a dict of {", ".join(map(str, list(value)[:5])) or "nothing"}'
    return 'nothing' if value is None else f'a {type(value).__name__}'


def to_pixels(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points from (0, 0) to (1, 1) as pixels of a frame of (height, width) that count from 0 at the first centre."""
    return points * np.array([size[1], size[0]], np.float64) - 0.5


def to_parts(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What :func:`to_pixels` undoes."""
    return (points + 0.5) / np.array([size[1], size[0]], np.float64)


def scaled(points: np.ndarray, size: tuple[int, int] | None, new: tuple[int, int]) -> np.ndarray:
    """Points in pixels of frames of one (height, width) in those of another; of size ``None`` they stay as they are."""
    return points if size in (None, tuple(new)) else to_pixels(to_parts(points, size), new)


def given_points(path: str | Path, size: tuple[int, int]) -> dict[int, np.ndarray]:
    """Each track of a file in the first frame that shows it, ``[J, 2]`` pixels by the number of the frame.

    This is what :class:`stt_mm.apis.VideoPropagator` takes as points; ``size`` is (height, width) of the frames.

    Raises:
        As :func:`read_point_file`. ValueError: no point is visible.
    """
    points, occluded = read_point_file(path)
    if occluded.all():
        raise InputError(f'{path} shows no point: all are occluded in all frames.')
    tracks = np.flatnonzero(~occluded.all(axis=1))
    born = (~occluded[tracks]).argmax(axis=1)
    places = to_pixels(points[tracks, born], size).clip(0, np.array(size[::-1]) - 1)
    return {int(t): places[born == t] for t in np.unique(born)}


class PointFileWriter:
    """Writes the points of one video, frame by frame, as a ``.npz`` file; a context manager.

    The file is made when it is left, also after an error, with ``points``, float32 ``[N, T, 2]``, and ``occluded``,
    bool ``[N, T]``, which holds for a point before it was given, where it is lost, and where something hides it as far
    as that is known. Not made without a point.

    Args:
        path: the file; ends with ``.npz``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != '.npz':
            raise InputError(f'Points are written as .npz, got {path}.')
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []

    def __enter__(self) -> 'PointFileWriter':
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        count = max((len(points) for points, _ in self._rows), default=0)
        if not count:
            return
        points = np.zeros((count, len(self._rows), 2), np.float32)
        occluded = np.ones((count, len(self._rows)), bool)
        for t, (row, hidden) in enumerate(self._rows):
            points[: len(row), t], occluded[: len(row), t] = row, hidden
        write_atomically(npz_bytes(points=points, occluded=occluded), self.path)

    def add(self, points: np.ndarray, size: tuple[int, int], occluded: np.ndarray | None = None) -> None:
        """Add a frame of (height, width) ``size``.

        Args:
            points: ``[J, 2]``, (x, y) in pixels, negative where lost; in later frames there may be more.
            size: of the frame.
            occluded: bool ``[J]``, where something hides a point; ``None``: not known. A lost one is occluded anyway.
        """
        lost = (np.asarray(points) < 0).any(axis=1)
        places = np.where(lost[:, None], 0, to_parts(np.asarray(points), size))
        self._rows.append((places, lost if occluded is None else lost | np.asarray(occluded)))


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """What ``numpy.savez`` writes of arrays by name."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
