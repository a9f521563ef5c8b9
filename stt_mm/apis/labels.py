"""Masks and points: those that a user gives, checked before anything is computed, and those that are found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stt_mm.errors import InputError
from stt_mm.models.frame_labels import Edits
from stt_mm.utils.checks import check_count
from stt_mm.utils.drawn_masks import check_drawn, drop_void
from stt_mm.utils.masks import as_ids, load_mask
from stt_mm.visualization import draw_points, overlay

MaskLike = np.ndarray | str | Path


@dataclass(frozen=True)
class Given:
    """What is given for one frame.

    Attributes:
        mask: uint8 ``[H, W]`` ids of the objects that are new or corrected in this frame, or ``None``.
        points: float32 ``[J, 2]``, (x, y) of the points that are new in this frame; may hold none.
        source: how messages call the mask: its file, or "The mask".
        edits: points that are corrected, and what is followed no longer.
    """

    mask: np.ndarray | None
    points: np.ndarray
    source: str = 'The mask'
    edits: Edits = field(default_factory=Edits)

    @property
    def ids(self) -> list[int]:
        """The objects of the mask, rising."""
        return [] if self.mask is None else np.unique(self.mask[self.mask > 0]).tolist()


@dataclass(frozen=True)
class FrameResult:
    """What was found in one frame.

    Attributes:
        frame_index: 0 for the first frame.
        name: the stem of its file, or its number in five digits.
        frame: uint8 ``[H, W, 3]``, RGB, as decoded.
        mask: uint8 ``[H, W]``, ids of all objects given so far, 0 elsewhere; new objects lie where they were given,
            over those that were there. ``None`` if the run has no masks.
        points: float32 ``[J, 2]``, (x, y) in pixels of all points given so far, in the order given, (-1, -1) where one
            is lost; new points are as given. ``None`` if the run has no points.
        time: when the frame is shown, in seconds since the first one; ``None`` where the video does not tell.
        confidence: of each object that is followed, by its id, 0 to 1 (:func:`stt_mm.models.confidence.confidences`).
        point_confidence: float32 ``[J]``, of each point, NaN where it is not followed; ``None`` without points.
        occluded: bool ``[J]``, whether something hides a point, or it is lost; ``None`` without points, and under a
            protocol that does not ask (``occlusion``).
    """

    frame_index: int
    name: str
    frame: np.ndarray
    mask: np.ndarray | None
    points: np.ndarray | None
    time: float | None = None
    confidence: Mapping[int, float] = field(default_factory=dict)
    point_confidence: np.ndarray | None = None
    occluded: np.ndarray | None = None

    @property
    def least_confidence(self) -> float:
        """That of the object that is most in doubt, or of the point where there are no objects; 1 if there is neither.

        What is not followed in the frame does not count. The two are not compared: the map of a point is a few cells,
        and far from the one that is drawn for it.
        """
        sure = np.empty(0) if self.point_confidence is None else self.point_confidence
        return min(self.confidence.values() or sure[~np.isnan(sure)].tolist(), default=1.0)

    def row(self) -> dict[str, Any]:
        """The points as plain data, to two digits, ``None`` where one is lost."""
        points = [None if x < 0 else [round(x, 2), round(y, 2)] for x, y in self.points.tolist()]
        seconds = None if self.time is None else round(self.time, 6)
        return dict(index=self.frame_index, name=self.name, time=seconds, points=points)

    def picture(self, alpha: float = 0.5) -> np.ndarray:
        """uint8 ``[H, W, 3]`` RGB: the frame with objects of that opacity (0 to 1) and points over it."""
        picture = self.frame if self.mask is None else overlay(self.frame, self.mask, alpha)
        return picture if self.points is None else draw_points(picture, self.points)


def collect_given(
    masks: Mapping[int, MaskLike] | MaskLike | None,
    points: Mapping[int, ArrayLike] | ArrayLike | None,
    edits: Mapping[int, Edits] | None = None,
) -> dict[int, Given]:
    """Labels by the frame they are for, rising.

    Args:
        masks: ids ``[H, W]`` of 0 to 255 or the file that holds them (:func:`stt_mm.utils.masks.load_mask`), by
            frame; without frames it is for frame 0. An id that an earlier mask has is corrected. What cannot be read
            without a guess is refused, and a border of 255 beside other ids becomes background
            (:mod:`stt_mm.utils.drawn_masks`).
        points: ``[J, 2]``, (x, y) in pixels, by frame; without frames for frame 0.
        edits: of what earlier frames gave, by frame.
    """
    masks, points, edits = by_frame(masks), by_frame(points), edits or {}
    for frame in (*masks, *points, *edits):
        if not isinstance(frame, (int, np.integer)) or frame < 0:
            raise InputError(f'Labels are given by the number of a frame, 0 for the first; got {frame!r}.')
    given: dict[int, Given] = {}
    objects: set[int] = set()
    followed: set[int] = set()
    count = 0
    for frame in sorted({*masks, *points, *edits}):
        edit = edits.get(frame, Edits())
        objects -= _known(edit.delete, objects, f'Object {{}} to delete at frame {frame}')
        followed -= _known(edit.delete_points, followed, f'Point {{}} to delete at frame {frame}')
        _known(edit.moved, followed, f'Point {{}} to correct at frame {frame}')
        moved = {n: given_points([place], f'Point {n} for frame {frame}')[0] for n, place in edit.moved.items()}
        source = str(masks[frame]) if isinstance(masks.get(frame), (str, Path)) else 'The mask'
        mask = given_ids(masks[frame], f'{source} for frame {frame}') if frame in masks else None
        new = given_points(points.get(frame, ()), f'Points for frame {frame}')
        edit = Edits(moved, tuple(edit.delete), tuple(edit.delete_points))
        given[int(frame)] = labels = Given(mask, new, source, edit)
        objects |= set(labels.ids)
        followed |= set(range(count, count + len(new)))
        count += len(new)
    if not any(labels.ids or len(labels.points) for labels in given.values()):
        raise InputError('There is nothing to follow: give a mask or points.')
    return given


def _known(numbers: Iterable[int], followed: set[int], what: str) -> set[int]:
    if unknown := sorted(set(numbers) - followed):
        raise InputError(
            f'{what.format(unknown[0])} is not followed there, but only: '
            f'{", ".join(map(str, sorted(followed))) or "none"}.'
        )
    return set(numbers)


def check_frames(
    given: Mapping[int, Given], name: str, start: int, max_frames: int | None, whole: int | None
) -> int | None:
    """Refuse labels of frames that are not there.

    Args:
        given: by frame.
        name: how messages call the video.
        start: number of the first frame that is taken.
        max_frames: how many are taken at most.
        whole: how many the video has, if that is known.

    Returns:
        Number of the frame after the last one; ``None`` if that is not known.
    """
    check_count('start', start, 0)
    if max_frames is not None:
        check_count('max_frames', max_frames)
    ends = [
        (None if max_frames is None else start + max_frames, f'only the first {max_frames} are to be read'),
        (whole, f'{name} has {whole} frames'),
    ]
    ends = [(end, why) for end, why in ends if end is not None]
    if whole == 0:
        raise InputError(f'{name} holds no frames.')
    for end, why in ends:
        if max(given) >= end:
            raise InputError(f'A label is given for frame {max(given)}, but {why}, {start} to {end - 1}.')
    if min(given) < start:
        raise InputError(f'A label is given for frame {min(given)}, but the first frame is to be {start}.')
    return min((end for end, _ in ends), default=None)


def by_kind(
    given: Mapping[int, Given], start: int
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], dict[int, Edits]]:
    """Masks, points and edits by the number of their frame from ``start`` on."""
    masks = {frame - start: labels.mask for frame, labels in given.items() if labels.mask is not None}
    points = {frame - start: labels.points for frame, labels in given.items() if len(labels.points)}
    return masks, points, {frame - start: labels.edits for frame, labels in given.items()}


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
        if labels.edits.moved:
            check_inside(np.stack(list(labels.edits.moved.values())), size, f' for frame {frame}')


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


def lowest(values: Mapping[int, float], count: int, apart: int = 5) -> list[tuple[int, float]]:
    """Frames of the lowest values with these, lowest first; no two are less than ``apart`` frames from each other."""
    chosen: list[tuple[int, float]] = []
    for frame, value in sorted(values.items(), key=lambda item: item[1]):
        if len(chosen) < count and all(abs(frame - other) >= apart for other, _ in chosen):
            chosen.append((frame, value))
    return chosen
