"""What a user gave for one video, as entries that can be undone, and as the labels that a run takes.

An entry is found by (kind, number, frame):

* ``object``, ``point``: that there is one; its name. The frame is -1.
* ``area``: where an object is in a frame, as a run-length code (:mod:`stt_mm.utils.rle`).
* ``end``, ``point_end``: followed no longer from that frame on.
* ``place``: (x, y) of a point in a frame, in pixels.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stt_mm.apis import Edits
from stt_mm.utils.rle import decode_rle

Key = tuple[str, int, int]
Entries = Mapping[Key, Any]
NO_FRAME = -1
_END = {'area': 'end', 'place': 'point_end'}


@dataclass(frozen=True)
class Labels:
    """What goes into :meth:`stt_mm.apis.VideoPropagator.stream`.

    Attributes:
        masks: uint8 ``[H, W]`` ids by frame.
        points: float32 ``[J, 2]`` by frame.
        edits: by frame.
        order: the points by the numbers that the run gives them.
    """

    masks: dict[int, np.ndarray]
    points: dict[int, np.ndarray]
    edits: dict[int, Edits]
    order: tuple[int, ...]

    @property
    def frames(self) -> list[int]:
        """Those with a label, rising."""
        return sorted({*self.masks, *self.points})


def numbers(entries: Entries, kind: str) -> list[int]:
    """All objects, or points, rising."""
    return sorted(number for found, number, _ in entries if found == kind)


def frames_of(entries: Entries, kind: str, number: int) -> list[int]:
    """The frames of the entries of one kind for one object or point, rising."""
    return sorted(frame for found, other, frame in entries if (found, other) == (kind, number))


def values_at(entries: Entries, kind: str, frame: int) -> dict[int, Any]:
    """The entries of one kind in one frame, by number."""
    return {number: value for (found, number, at), value in sorted(entries.items()) if (found, at) == (kind, frame)}


def is_over(entries: Entries, number: int, frame: int, point: bool = False) -> bool:
    """Whether an object, or point, is followed no longer in a frame: it ended, and did not come back."""
    given, ended = ('place', 'point_end') if point else ('area', 'end')
    last = max((end for end in frames_of(entries, ended, number) if end <= frame), default=None)
    return last is not None and not any(last <= at <= frame for at in frames_of(entries, given, number))


def is_shown(entries: Entries, kind: str, number: int, frame: int) -> bool:
    """Whether what a run found of an object, or point, in a frame is still valid there."""
    return (kind, number, NO_FRAME) in entries and not is_over(entries, number, frame, point=kind == 'point')


def names_of(entries: Entries) -> dict[int, str]:
    """Names of the objects by number."""
    return {number: entries['object', number, NO_FRAME] for number in numbers(entries, 'object')}


def laid_over(entries: Entries, frame: int, found: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """The mask of a frame as it is shown: what a run found, with what the user gave over it.

    Args:
        entries: of the user.
        frame: its number.
        found: uint8 ``[H, W]`` ids; ``None`` where nothing was found.
        size: (height, width).

    Returns:
        uint8 ``[H, W]``, a new array.
    """
    mask = np.zeros(size, np.uint8) if found is None else found
    areas = values_at(entries, 'area', frame)
    known = [number for number in numbers(entries, 'object') if not is_over(entries, number, frame)]
    kept = [number for number in known if number not in areas]
    table = np.zeros(256, np.uint8)
    table[kept] = kept
    mask = table[mask]
    for number, code in areas.items():
        mask[decode_rle(code)] = number
    return mask


def whole_labels(entries: Entries, span: range) -> Labels:
    """All that was given in the frames of ``span``."""
    areas, places = ({key[1:]: value for key, value in entries.items() if key[0] == kind} for kind in ('area', 'place'))
    given = {(number, frame): decode_rle(code) for (number, frame), code in areas.items() if frame in span}
    placed = {key: place for key, place in places.items() if key[1] in span}
    ends = {(kind, number, frame) for kind, number, frame in entries if kind in ('end', 'point_end') and frame in span}
    return _assembled(given, placed, ends)


def later_labels(
    entries: Entries, frame: int, count: int, shown: np.ndarray, places: Mapping[int, tuple[float, float]]
) -> tuple[list[int], Labels]:
    """Labels to go on with from a frame whose masks and points are right as they are shown.

    The frames before it in which these were given go in front of it, for their looks to be remembered.

    Args:
        entries: of the user.
        frame: from which on.
        count: frames of the video.
        shown: uint8 ``[H, W]``, ids in that frame.
        places: (x, y) of the points in that frame, without those that are lost.

    Returns:
        The numbers of the frames to go through, and the labels by the places of the frames in this list.
    """
    areas = {(number, frame): shown == number for number in np.unique(shown[shown > 0]).tolist()}
    points: dict[tuple[int, int], Any] = {(number, frame): place for number, place in places.items()}
    ends = set()
    for (kind, number, at), value in entries.items():
        if kind in _END:
            begun = max((end for end in frames_of(entries, _END[kind], number) if end <= frame), default=0)
            over = is_over(entries, number, frame, point=kind == 'place')
            if at > frame or begun <= at < frame and not over:
                (areas if kind == 'area' else points)[number, at] = decode_rle(value) if kind == 'area' else value
        elif kind in _END.values() and at > frame:
            ends.add((kind, number, at))
    before = sorted({at for _, at in (*areas, *points) if at < frame})
    order = [*before, *range(frame, count)]
    place_of = {at: place for place, at in enumerate(order)}
    return order, _assembled(
        {(number, place_of[at]): area for (number, at), area in areas.items()},
        {(number, place_of[at]): place for (number, at), place in points.items()},
        {(kind, number, place_of[at]) for kind, number, at in ends},
    )


def _assembled(
    areas: Mapping[tuple[int, int], np.ndarray],
    places: Mapping[tuple[int, int], Any],
    ends: Collection[Key],
) -> Labels:
    """Labels of areas and places by (number, frame); an end of what is not followed there is left out."""
    masks: dict[int, np.ndarray] = {}
    for (number, frame), area in sorted(areas.items()):
        masks.setdefault(frame, np.zeros(area.shape, np.uint8))[area] = number
    births: dict[int, int] = {}
    for number, frame in places:
        births[number] = min(frame, births.get(number, frame))
    order = sorted(births, key=lambda number: (births[number], number))
    points: dict[int, list[Any]] = {}
    moved: dict[int, dict[int, Any]] = {}
    for number in order:
        points.setdefault(births[number], []).append(places[number, births[number]])
    for (number, frame), place in places.items():
        if frame != births[number]:
            moved.setdefault(frame, {})[order.index(number)] = place
    gone: dict[str, dict[int, list[int]]] = {'end': {}, 'point_end': {}}
    for kind, number, frame in sorted(ends):
        given = areas if kind == 'end' else places
        followed = max((at for other, at in given if other == number and at < frame), default=None)
        already = [at for other, one, at in ends if (other, one) == (kind, number) and at < frame]
        if followed is not None and (number, frame) not in given and not any(at > followed for at in already):
            gone[kind].setdefault(frame, []).append(number if kind == 'end' else order.index(number))
    edits = {
        frame: Edits(moved.get(frame, {}), gone['end'].get(frame, ()), gone['point_end'].get(frame, ()))
        for frame in {*moved, *gone['end'], *gone['point_end']}
    }
    return Labels(masks, {frame: np.array(found, np.float32) for frame, found in points.items()}, edits, tuple(order))


def earlier_labels(
    entries: Entries, frame: int, shown: np.ndarray, places: Mapping[int, tuple[float, float]]
) -> Labels:
    """Labels to go back with from a frame whose masks and points are right as they are shown; see :func:`later_labels`.

    Returns:
        The labels by frame, with all that was given before ``frame``.
    """
    areas = {(number, frame): shown == number for number in np.unique(shown[shown > 0]).tolist()}
    points: dict[tuple[int, int], Any] = {(number, frame): place for number, place in places.items()}
    for (kind, number, at), value in entries.items():
        if at < frame and kind == 'area':
            areas[number, at] = decode_rle(value)
        elif at < frame and kind == 'place':
            points[number, at] = value
    ends = {key for key in entries if key[0] in ('end', 'point_end') and key[2] <= frame}
    return _assembled(areas, points, ends)
