"""Masks and points that a user gives, checked before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from stt_mm.errors import InputError
from stt_mm.utils.drawn_masks import check_drawn, drop_void
from stt_mm.utils.masks import as_ids, load_mask

MaskLike = np.ndarray | str | Path


@dataclass(frozen=True)
class Given:
    """What is given for one frame.

    Attributes:
        mask: uint8 ``[H, W]`` ids of the objects that are new in this frame, or ``None``.
        points: float32 ``[J, 2]``, (x, y) of the points that are new in this frame; may hold none.
        source: how messages call the mask: its file, or "The mask".
    """

    mask: np.ndarray | None
    points: np.ndarray
    source: str = 'The mask'


def collect_given(
    masks: Mapping[int, MaskLike] | MaskLike | None, points: Mapping[int, ArrayLike] | ArrayLike | None
) -> dict[int, Given]:
    """Labels by the frame they are for, rising.

    Args:
        masks: ids ``[H, W]`` of 0 to 255 or the file that holds them (:func:`stt_mm.utils.masks.load_mask`), by
            frame; without frames it is for frame 0. What cannot be read without a guess is refused, and a border of 255
            beside other ids becomes background (:mod:`stt_mm.utils.drawn_masks`).
        points: ``[J, 2]``, (x, y) in pixels, by frame; without frames for frame 0.
    """
    masks, points = by_frame(masks), by_frame(points)
    given: dict[int, Given] = {}
    owner: dict[int, int] = {}
    for frame in (*masks, *points):
        if not isinstance(frame, (int, np.integer)) or frame < 0:
            raise InputError(f'Labels are given by the number of a frame, 0 for the first; got {frame!r}.')
    for frame in sorted({*masks, *points}):
        source = str(masks[frame]) if isinstance(masks.get(frame), (str, Path)) else 'The mask'
        mask = given_ids(masks[frame], f'{source} for frame {frame}') if frame in masks else None
        for number in [] if mask is None else np.unique(mask[mask > 0]).tolist():
            if number in owner:
                raise InputError(
                    f'{source} for frame {frame} gives object {number}, which the mask for frame '
                    f'{owner[number]} gave already. Use an id that is free, such as '
                    f'{next(k for k in range(1, 257) if k not in owner)}.'
                )
            owner[number] = frame
        given[int(frame)] = Given(mask, given_points(points.get(frame, ()), f'Points for frame {frame}'), source)
    if not owner and not any(len(labels.points) for labels in given.values()):
        raise InputError('There is nothing to follow: give a mask or points.')
    return given


def check_fit(given: Mapping[int, Given], size: tuple[int, int]) -> None:
    """Refuse what does not lie in frames of (height, width) ``size``."""
    height, width = size
    for frame, labels in given.items():
        if labels.mask is not None and labels.mask.shape != size:
            raise InputError(
                f'{labels.source} for frame {frame} is {labels.mask.shape[0]}x{labels.mask.shape[1]} (height x width), '
                f'the frames are {height}x{width}. Draw it at their size, or resize it by '
                'stt_mm.utils.resize_mask(mask, size).'
            )
        check_inside(labels.points, size, f' for frame {frame}')


def check_inside(points: np.ndarray, size: tuple[int, int], where: str = '') -> None:
    """Refuse points ``[J, 2]`` outside of frames of (height, width) ``size``; ``where`` follows them in the message."""
    height, width = size
    outside = ~((points >= 0) & (points <= (width - 1, height - 1))).all(1)
    if outside.any():
        x, y = points[outside][0].tolist()
        raise InputError(
            f'Point {x:g},{y:g}{where} lies outside of the frame, where x is 0 to {width - 1} and y is 0 to '
            f'{height - 1}.'
        )


def by_frame(labels: object) -> Mapping:
    """Labels by the frame they are for; those without a frame are for frame 0."""
    if labels is None:
        return {}
    return labels if isinstance(labels, Mapping) else {0: labels}


def given_ids(mask: MaskLike, where: str) -> np.ndarray:
    """uint8 ``[H, W]``, the ids of a mask that somebody drew; ``where`` is how messages call it.

    Raises:
        ValueError: it has no object, or cannot be read without a guess.
    """
    palette = None
    if isinstance(mask, (str, Path)):
        mask, palette = load_mask(mask)
    mask = as_ids(np.asarray(mask), where)
    if not mask.any():
        raise InputError(f'{where} is empty: all its ids are 0, the background. Give each object an id of 1 to 255.')
    check_drawn(mask, palette, where)
    return drop_void(mask, where)


def given_points(points: ArrayLike, where: str) -> np.ndarray:
    """float32 ``[J, 2]``, (x, y) of points that somebody gave, perhaps none; ``where`` is how messages call them."""
    try:
        found = np.asarray(points, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(f'{where} must be [J, 2] finite numbers, x and y of each, got {points!r}.') from None
    if found.size == 0:
        return np.empty((0, 2), np.float32)
    if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
        raise InputError(f'{where} must be [J, 2] finite numbers, x and y of each, got {found.tolist()}.')
    return found
