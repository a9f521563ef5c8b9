"""Masks and points drawn over frames: single pictures and comparisons of methods."""

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stt_mm.errors import InputError
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.masks import display_colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    # Pixels with another id above, below, left or right; the edge of the picture is no border.
    borders = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    picture[inside & (borders > 0)] = 255
    return picture


def draw_points(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A picture with a dot on each point, the first in the colour of id 1 and so on, 256 as 1, on a white rim.

    Args:
        picture: uint8 ``[H, W, 3]``, RGB.
        points: ``[J, 2]``, (x, y) in pixels, whole numbers the centres; with a negative coordinate or NaN it is not
            drawn.

    Returns:
        uint8 ``[H, W, 3]``, RGB; a new array. Dots grow with the picture and have a radius of 3 pixels or more.
    """
    check_frame(picture)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f'draw_points: points must be [J, 2], got {list(points.shape)}.')
    picture = picture.copy()
    radius = max(3, round(min(picture.shape[:2]) / 100))
    for (x, y), color in zip(points.tolist(), cycle(display_colors()[1:].tolist()), strict=False):
        if x >= 0 and y >= 0:
            centre = (round(x), round(y))
            cv2.circle(picture, centre, radius + 1, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
            cv2.circle(picture, centre, radius, color, cv2.FILLED, cv2.LINE_AA)
    return picture


def write_comparison(
    path: str | Path, rows: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str]
) -> Path:
    """Writes one PNG with a row for each method and a column for each frame.

    Args:
        rows: (label, pictures), pictures uint8 ``[H, W, 3]`` RGB, one for each column; the label stands above them.
        columns: what stands above the columns.
    """
    from matplotlib.figure import Figure  # half a second, which who draws over frames should not wait

    height, width = rows[0][1][0].shape[:2]
    side = 3 * height / width + 0.4  # inches; a column has three
    figure = Figure((3 * len(columns), side * len(rows) + 0.4), layout='constrained')
    parts = figure.subfigures(len(rows), squeeze=False).flat
    for (label, pictures), part in zip(rows, parts, strict=True):
        part.suptitle(label, x=0.01, ha='left', fontsize='medium')
        for picture, title, axes in zip(
            pictures, columns, part.subplots(1, len(columns), squeeze=False)[0], strict=True
        ):
            axes.imshow(picture)
            axes.set_axis_off()
            axes.set_title(title if pictures is rows[0][1] else '', fontsize='small')
    write_figure(figure, path)
    return Path(path)


def write_figure(figure: 'Figure', path: str | Path) -> None:
    """Writes a figure as PNG, whole or not at all; equal ones give equal files with every version of Matplotlib."""
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format='png', dpi=150, metadata={'Software': None})
        write_atomically(buffer.getvalue(), path)
