"""Masks and points drawn over frames: single pictures and comparisons of methods."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stt_mm.errors import FileError, InputError
from stt_mm.utils.palette import display_colors

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MARGIN = 4
_INK = (32, 32, 32)


def check_frame(frame: np.ndarray) -> None:
    """Refuses what is no uint8 ``[H, W, 3]`` picture, with a ValueError."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise InputError(f'A frame must be uint8 [H, W, 3] RGB, got {frame.dtype} {list(frame.shape)}.')


def overlay(frame: np.ndarray, mask: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """A frame with the objects in :func:`display_colors`, those of DAVIS if vivid, and a white contour around each.

    Args:
        frame: uint8 ``[H, W, 3]``, RGB.
        mask: uint8 ``[H, W]``, object ids; 0 is background and stays as it is.
        alpha: opacity of the colours, 0 to 1. The contour is always opaque and lies inside the object.

    Returns:
        uint8 ``[H, W, 3]``, RGB; a new array.

    Raises:
        ValueError: another shape or type, or ``alpha`` outside of 0 to 1.
    """
    check_frame(frame)
    if mask.dtype != np.uint8 or mask.shape != frame.shape[:2]:
        raise InputError(
            f'overlay: mask must be uint8 {list(frame.shape[:2])} like the frame, got {mask.dtype} '
            f'{list(mask.shape)}. Resize it with stt_mm.utils.resize_mask.'
        )
    if not 0 <= alpha <= 1:
        raise InputError(f'overlay: alpha must be 0 to 1, got {alpha}.')
    picture = frame.copy()
    inside = mask > 0
    colors = display_colors()[mask[inside]].astype(np.float32)
    picture[inside] = np.rint((1 - alpha) * frame[inside].astype(np.float32) + alpha * colors).astype(np.uint8)
    picture[inside & _borders(mask)] = 255
    return picture


def draw_points(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A picture with a dot on each point, the first in the colour of id 1 and so on, on a white rim.

    Args:
        picture: uint8 ``[H, W, 3]``, RGB.
        points: ``[J, 2]``, (x, y) in pixels, whole numbers the centres; with a negative coordinate or NaN it is not
            drawn.

    Returns:
        uint8 ``[H, W, 3]``, RGB; a new array. Dots grow with the picture and have a radius of 3 pixels or more.

    Raises:
        ValueError: another shape or type, or more than 255 points.
    """
    check_frame(picture)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) > 255:
        raise InputError(f'draw_points: points must be [J, 2] with J of 255 at most, got {list(points.shape)}.')
    picture = picture.copy()
    radius = max(3, round(min(picture.shape[:2]) / 100))
    for (x, y), color in zip(points.tolist(), display_colors()[1:].tolist(), strict=False):
        if x >= 0 and y >= 0:
            centre = (round(x), round(y))
            cv2.circle(picture, centre, radius + 1, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
            cv2.circle(picture, centre, radius, color, cv2.FILLED, cv2.LINE_AA)
    return picture


def comparison(rows: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str]) -> np.ndarray:
    """One picture with a row for each method and a column for each frame.

    Args:
        rows: (label, pictures), pictures uint8 ``[H, W, 3]`` RGB, all of one size and one for each column.
        columns: what stands above the columns.

    Returns:
        uint8 ``[H', W', 3]`` RGB: pictures side by side on white, their row's label above them on the left.

    Raises:
        ValueError: no rows or columns, another number of pictures than columns, or pictures of different sizes.
    """
    if not rows or not columns:
        raise InputError(f'comparison: expected rows and columns, got {len(rows)} rows and {len(columns)} columns.')
    shape = rows[0][1][0].shape if len(rows[0][1]) else ()
    for label, pictures in rows:
        if len(pictures) != len(columns):
            raise InputError(f'comparison: row {label!r} has {len(pictures)} pictures for {len(columns)} columns.')
        for picture in pictures:
            check_frame(picture)
            if picture.shape != shape:
                raise InputError(
                    f'comparison: a picture of row {label!r} is {list(picture.shape)}, the first is {list(shape)}. '
                    'All must have one size.'
                )
    width = len(columns) * (shape[1] + _MARGIN) + _MARGIN
    parts = [_captions(columns, shape[1], width)]
    for label, pictures in rows:
        parts.append(_captions([label], width - 2 * _MARGIN, width))
        parts.append(_side_by_side(pictures, width))
    return np.vstack([*parts, np.full((_MARGIN, width, 3), 255, dtype=np.uint8)])


def write_picture(path: str | Path, picture: np.ndarray) -> Path:
    """Writes uint8 ``[H, W, 3]`` RGB as PNG or JPEG by the suffix; missing folders are made.

    Raises:
        ValueError: another shape or type, or an unknown suffix.
        OSError: the file cannot be written.
    """
    path = Path(path)
    check_frame(picture)
    if path.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        raise InputError(f'write_picture: {path} must end with .png or .jpg.')
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise FileError(f'The picture {path} could not be written: the disk is full or the folder is read-only.')
    return path


def _borders(mask: np.ndarray) -> np.ndarray:
    """Pixels with another id above, below, left or right; the edge of the picture is no border."""
    border = np.zeros(mask.shape, dtype=bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border


def _captions(texts: Sequence[str], step: int, width: int) -> np.ndarray:
    """A white strip of that width with one text every ``step`` pixels, each as large as fits."""
    (_, text_height), baseline = cv2.getTextSize('Ag', _FONT, 0.5, 1)
    strip = np.full((text_height + baseline + 2 * _MARGIN, width, 3), 255, dtype=np.uint8)
    for index, text in enumerate(texts):
        text_width = cv2.getTextSize(text, _FONT, 0.5, 1)[0][0]
        scale = 0.5 * min(1.0, step / max(text_width, 1))
        left = _MARGIN + index * (step + _MARGIN)
        cv2.putText(strip, text, (left, _MARGIN + text_height), _FONT, scale, _INK, 1, cv2.LINE_AA)
    return strip


def _side_by_side(pictures: Sequence[np.ndarray], width: int) -> np.ndarray:
    height, step = pictures[0].shape[:2]
    row = np.full((height, width, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        left = _MARGIN + index * (step + _MARGIN)
        row[:, left : left + step] = picture
    return row
