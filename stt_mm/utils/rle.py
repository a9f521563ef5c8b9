"""Masks as run lengths and outlines: COCO's run-length code, its polygons, and the brush strokes of Label Studio."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stt_mm.errors import InputError
from stt_mm.utils.images import ImageFault, check_size

_FINE = 5  # steps per pixel in which COCO draws an outline


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """The compressed run-length code of COCO, as pycocotools writes it, with the counts as text for JSON.

    Args:
        mask: ``[H, W]``; what is not 0 belongs to the object.

    Returns:
        ``size`` (height, width) and ``counts``.
    """
    flat = np.asarray(mask).astype(bool).T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1])) if flat.size else []
    counts = np.diff(np.concatenate([[0], edges])).astype(np.int64)
    # From the third on, a count is kept as the difference to the one two before.
    steps = np.concatenate([counts[:3], counts[3:] - counts[1:-2]])
    return dict(size=list(map(int, np.shape(mask))), counts=''.join(map(_digits, steps.tolist())))


def decode_rle(rle: Any, where: str = 'A mask') -> np.ndarray:
    """The mask of a run-length code of COCO, compressed (text) or not (a list of counts).

    Args:
        rle: ``size`` (height, width) and ``counts``: the lengths of the runs of 0 and 1 in turn, down each column.
        where: begins the messages.

    Returns:
        bool ``[H, W]``.

    Raises:
        ValueError: it is none, or its runs do not fill the size.
    """
    if not isinstance(rle, dict) or not {'size', 'counts'} <= rle.keys():
        raise InputError(f'{where}: a run-length code has size and counts, got {rle!r:.80}.')
    height, width = checked_size(rle['size'], where)
    counts = rle['counts']
    if isinstance(counts, bytes):
        counts = counts.decode('latin-1')
    if isinstance(counts, str):
        counts = _counts(counts, where)
    elif isinstance(counts, list) and all(type(count) is int and 0 <= count < 2**40 for count in counts):
        counts = np.array(counts, np.int64)
    else:
        raise InputError(f'{where}: counts must be text or a list of whole numbers, got {counts!r:.80}.')
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(
            f'{where}: its runs have {counts.sum()} pixels, but its size {height}x{width} (height x width) has '
            f'{height * width}. The code is damaged, or of another size.'
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def draw_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int], where: str = 'A mask') -> np.ndarray:
    """The pixels inside of any of some outlines, as COCO counts them.

    An outline is followed on a grid of five steps per pixel; a pixel belongs to it if its centre does.

    Args:
        polygons: outlines ``x1, y1, x2, y2, ...`` in pixels that count from the upper left corner of the picture.
        size: (height, width).
        where: begins the messages.

    Returns:
        bool ``[H, W]``.

    Raises:
        ValueError: an outline has fewer than three points, or what is no number.
    """
    mask = np.zeros(size, bool)
    for polygon in polygons:
        listed = isinstance(polygon, Sequence) and not isinstance(polygon, str)
        if wrong := [number for number in polygon if not _is_coordinate(number)] if listed else []:
            raise InputError(f'{where}: an outline has numbers of up to {2**17} pixels, got {wrong[0]!r:.40}.')
        if not listed or len(polygon) < 6 or len(polygon) % 2:
            raise InputError(
                f'{where}: an outline is a list x1, y1, x2, y2, ... of three points or more, got {polygon!r:.80}.'
            )
        mask |= _inside(np.array(polygon, np.float64).reshape(-1, 2), size)
    return mask


def decode_brush(codes: Any, size: tuple[int, int], where: str = 'A mask') -> np.ndarray:
    """The mask of a brush region of Label Studio, whose ``rle`` is a list of bytes that pack an RGBA picture.

    32 bits tell the number of values, 5 the bits of a value (less one), four times 4 those of a length (less one). Then
    come runs: a bit that says whether one value is repeated, 2 that choose among the four, and a length (less one).

    Args:
        codes: bytes as integers.
        size: (height, width) of the picture.
        where: begins the messages.

    Returns:
        bool ``[H, W]``: where the picture is opaque, by half at least.

    Raises:
        ValueError: it is none, ends early, or is of another size.
    """
    if not isinstance(codes, list) or not codes or not all(type(code) is int and 0 <= code <= 255 for code in codes):
        raise InputError(f'{where}: the strokes of a brush are a list of bytes, 0 to 255, got {codes!r:.80}.')
    bits = _Bits(codes)
    try:
        total, width = bits.read(32), bits.read(5) + 1
        lengths = [bits.read(4) + 1 for _ in range(4)]
        if total != 4 * size[0] * size[1] or width > 8:
            raise InputError(
                f'{where}: the strokes of a brush are for {total // 4} pixels, the picture has {size[0] * size[1]}.'
            )
        values = np.zeros(total, np.uint8)
        place = 0
        while place < total:
            repeated = bits.read(1)
            end = place + 1 + bits.read(lengths[bits.read(2)])
            values[place:end] = bits.read(width) if repeated else bits.read_many(min(end, total) - place, width)
            place = end
    except EOFError:
        raise InputError(f'{where}: the strokes of a brush end early. Export them again.') from None
    return values.reshape(*size, 4)[..., 3] >= 2 ** (width - 1)


def checked_size(size: Any, where: str) -> tuple[int, int]:
    """(height, width) of a mask as a file states it."""
    whole = isinstance(size, list | tuple) and len(size) == 2 and all(_is_whole(side) for side in size)
    if not whole or min(size) < 1:
        raise InputError(f'{where}: the size must be (height, width) in pixels, got {size!r:.80}.')
    height, width = map(int, size)
    try:
        check_size(width, height)
    except ImageFault as fault:
        raise InputError(f'{where}: {fault}. {fault.remedy}') from fault
    return height, width


class _Bits:
    """A list of bytes, read bit by bit, the high one of each first."""

    def __init__(self, codes: list[int]) -> None:
        self._bits = np.unpackbits(np.array(codes, np.uint8))
        self._text = (self._bits + ord('0')).tobytes().decode()
        self._place = 0

    def read(self, width: int) -> int:
        return int(self._take(width), 2)

    def read_many(self, number: int, width: int) -> np.ndarray:
        start = self._place
        self._take(number * width)
        return self._bits[start : self._place].reshape(number, width) @ (1 << np.arange(width)[::-1])

    def _take(self, width: int) -> str:
        start, self._place = self._place, self._place + width
        if self._place > len(self._text):
            raise EOFError
        return self._text[start : self._place]


def _digits(number: int) -> str:
    """A number in letters of five bits, low ones first; a sixth bit tells that more follow."""
    letters = []
    while True:
        low, number = number & 31, number >> 5
        ends = number == (-1 if low & 16 else 0)
        letters.append(chr(48 + low + (0 if ends else 32)))
        if ends:
            return ''.join(letters)


def _counts(text: str, where: str) -> np.ndarray:
    letters = np.frombuffer(text.encode('ascii', 'replace'), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(letters & 32 == 0)
    whole = text.isascii() and len(ends) and ends[-1] == len(letters) - 1
    if not whole or not ((letters >= 0) & (letters < 64)).all():
        raise InputError(f'{where}: {text!r:.40} is no run-length code of COCO.')
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 7:
        raise InputError(f'{where}: a run of {text!r:.40} is longer than any picture.')
    places = np.arange(len(letters)) - np.repeat(ends - lengths + 1, lengths)
    counts = np.add.reduceat((letters & 31) << 5 * places, ends - lengths + 1)
    counts -= np.where(letters[ends] & 16, 1 << 5 * lengths, 0)
    for first in (1, 2):
        counts[first::2] = np.cumsum(counts[first::2])
    return counts


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    corners = np.trunc(_FINE * points + 0.5).astype(np.int64)
    edges = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    places = np.sort(np.concatenate([_crossings(_line(*edge), size) for edge in edges]))
    # Each crossing turns what comes after it around.
    runs = np.diff(places, prepend=0, append=height * width)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _crossings(line: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where a line crosses the middle of a column, as places of a picture that is read down its columns."""
    before, after = line[:-1], line[1:]
    columns = (np.where(after[:, 0] < before[:, 0], after[:, 0], after[:, 0] - 1) + 0.5) / _FINE - 0.5
    rows = np.ceil(((np.minimum(before[:, 1], after[:, 1]) + 0.5) / _FINE - 0.5).clip(0, size[0])).astype(np.int64)
    crosses = (before[:, 0] != after[:, 0]) & (columns == np.floor(columns)) & (columns >= 0) & (columns < size[1])
    return columns[crosses].astype(np.int64) * size[0] + rows[crosses]


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """All steps from one place to another, integers ``[N, 2]``."""
    axis = int(abs(end - start)[0] < abs(end - start)[1])
    first, last = sorted((start, end), key=lambda place: place[axis])
    number = int(last[axis] - first[axis])
    slope = (last - first)[1 - axis] / number if number else 0.0
    steps = np.arange(number + 1)
    line = np.empty((number + 1, 2), np.int64)
    line[:, axis] = first[axis] + steps
    line[:, 1 - axis] = np.trunc(first[1 - axis] + slope * steps + 0.5)
    return line if start[axis] <= end[axis] else line[::-1]


def _is_whole(number: Any) -> bool:
    return type(number) in (int, float) and math.isfinite(number) and number == int(number)


def _is_coordinate(number: Any) -> bool:
    return type(number) in (int, float) and abs(number) <= 2**17
