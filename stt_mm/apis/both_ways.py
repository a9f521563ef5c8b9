"""Labels carried to the frames before theirs as well, and merged with those carried forward.

A pass from the end meets the labels in the reverse order: the last frame in which an object is given is its birth
there, and those before it are corrections. Between two frames in which it is given, an object is taken from the one
pass up to some frame and from the other after it: where the confidence of both, summed over the stretch, is largest.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from stt_mm.apis.labels import Given, by_kind
from stt_mm.errors import InputError
from stt_mm.models.frame_labels import Edits, FrameLabels
from stt_mm.ops.points import LOST
from stt_mm.utils import check_choice, list_images
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.video import open_video

if TYPE_CHECKING:
    from stt_mm.models import Correspondence

Direction = Literal['forward', 'backward', 'both']
# Frames that are decoded at a time where they are asked for from the end: files are decoded from a key frame on.
_CHUNK = 32


class Life(NamedTuple):
    """A stretch of frames in which an object, or a point, may be, to where it is dropped.

    The first one begins with the video; after a drop, where it is given again.
    """

    begin: int
    end: int
    given: tuple[int, ...]  # rising


@dataclass(frozen=True)
class Plan:
    """Who is given and dropped when.

    Attributes:
        objects: id to its lives.
        points: the lives of each point, by its number; one of each.
        places: per point, frame to the (x, y) that it is given there.
    """

    objects: Mapping[int, tuple[Life, ...]]
    points: tuple[Life, ...]
    places: tuple[Mapping[int, np.ndarray], ...]


def plan_of(given: Mapping[int, Given], start: int, end: int) -> Plan:
    """Who is given and dropped when, in frames ``start`` to ``end - 1``."""
    seen: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    places: list[dict[int, np.ndarray]] = []
    point_ends: dict[int, int] = {}
    for frame, labels in sorted(given.items()):
        for number in labels.edits.delete:
            ends.setdefault(number, []).append(frame)
        for number in labels.edits.delete_points:
            point_ends[number] = frame
        for number, place in labels.edits.moved.items():
            places[number][frame] = np.asarray(place, np.float32)
        places += [{frame: place} for place in labels.points]
        for number in labels.ids:
            seen.setdefault(number, []).append(frame)
    objects = {}
    for number, frames in seen.items():
        borders = [start, *ends.get(number, []), end]
        lives = [(until, tuple(t for t in frames if begin <= t < until)) for begin, until in pairwise(borders)]
        objects[number] = tuple(
            Life(times[0] if begun else start, until, times)
            for begun, (until, times) in enumerate((until, times) for until, times in lives if times)
        )
    points = tuple(
        Life(start, point_ends.get(number, end), tuple(sorted(of_one))) for number, of_one in enumerate(places)
    )
    return Plan(objects, points, tuple(places))


class Kept(NamedTuple):
    """What one pass found in a frame, in few bytes."""

    mask: bytes  # PNG of the ids
    confidence: Mapping[int, float]
    points: np.ndarray  # [J, 2], by number, (-1, -1) where not followed or lost
    sure: np.ndarray  # [J], NaN where not followed
    occluded: np.ndarray | None  # bool [J], true where not followed

    @classmethod
    def of(cls, labels: FrameLabels, numbers: Sequence[int], count: int) -> 'Kept':
        """The labels of a frame, whose points have these numbers among ``count``."""
        points, sure = np.full((count, 2), LOST, np.float32), np.full(count, np.nan, np.float32)
        followed = list(numbers[: len(labels.points)])
        points[followed] = labels.points
        if labels.point_confidence is not None:
            sure[followed] = labels.point_confidence
        occluded = None if labels.occluded is None else np.ones(count, bool)
        if occluded is not None:
            occluded[followed] = labels.occluded
        return cls(cv2.imencode('.png', labels.mask)[1].tobytes(), labels.confidence or {}, points, sure, occluded)

    def ids(self) -> np.ndarray:
        """uint8 ``[H, W]``."""
        return cv2.imdecode(np.frombuffer(self.mask, np.uint8), cv2.IMREAD_UNCHANGED)


def carried(
    model: 'Correspondence',
    frames: Sequence[np.ndarray] | FrameSequence,
    given: Mapping[int, Given],
    span: range,
    backward: bool,
    progress: Callable[[], object] = lambda: None,
) -> list[Kept]:
    """One pass over frames, in the order of ``span``; the results always in rising order.

    Args:
        model: carries the labels.
        frames: uint8 RGB ``[H, W, 3]`` by number.
        given: labels by frame.
        span: numbers of the frames, rising.
        backward: from the end.
        progress: called after each frame.
    """
    plan = plan_of(given, span.start, span.stop)
    masks, points, edits = by_kind(given, 0)
    numbers = list(range(len(plan.points)))
    time_of = {t: t - span.start for t in span}
    images, order = (frames[t] for t in span), span
    if backward:
        points, edits, numbers = _turned(plan)
        time_of = {t: span.stop - 1 - t for t in span}
        images, order = _from_the_end(frames, span), span[::-1]
    masks, points, edits = ({time_of[t]: value for t, value in each.items()} for each in (masks, points, edits))
    found = []
    with closing(model.track(images, masks, points, edits, with_confidence=True, numbers=order)) as results:
        for labels in results:
            found.append(Kept.of(labels, numbers, len(plan.points)))
            progress()
    return found[::-1] if backward else found


def carried_ways(
    model: 'Correspondence',
    frames: Sequence[np.ndarray] | FrameSequence,
    given: Mapping[int, Given],
    span: range,
    direction: Direction,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[Kept]:
    """Labels of the frames of ``span``, from one pass or from both; see :func:`carried`.

    Args:
        progress: called with the frames of all passes that were done, and their number.
    """
    ways, done = (True,) if direction == 'backward' else (False, True), count(1)

    def report() -> None:
        if progress is not None:
            progress(next(done), len(ways) * len(span))

    passes = [carried(model, frames, given, span, backward, report) for backward in ways]
    return iter(passes[0]) if len(passes) == 1 else merged(*passes, given, span.start)


def _turned(plan: Plan) -> tuple[dict[int, np.ndarray], dict[int, Edits], list[int]]:
    """Points, edits, and the numbers of the points, as a pass from the end meets them."""
    births: dict[int, list[int]] = {}
    moved: dict[int, dict[int, np.ndarray]] = {}
    objects: dict[int, set[int]] = {}
    for number, life in enumerate(plan.points):
        births.setdefault(life.given[-1], []).append(number)
    order = [number for frame in sorted(births, reverse=True) for number in births[frame]]
    for number, life in enumerate(plan.points):
        for frame in life.given[:-1]:
            moved.setdefault(frame, {})[order.index(number)] = plan.places[number][frame]
    for number, lives in plan.objects.items():
        for life in lives[1:]:
            # Before this life it was dropped: what is carried back ends with it.
            objects.setdefault(life.begin - 1, set()).add(number)
    points = {
        frame: np.stack([plan.places[number][frame] for number in of_frame]) for frame, of_frame in births.items()
    }
    edits = {frame: Edits(moved.get(frame, {}), frozenset(objects.get(frame, ()))) for frame in {*moved, *objects}}
    return points, edits, order


def _from_the_end(frames: Sequence[np.ndarray] | FrameSequence, span: range) -> Iterator[np.ndarray]:
    for stop in range(span.stop, span.start, -_CHUNK):
        some = [frames[t] for t in range(max(stop - _CHUNK, span.start), stop)]
        while some:
            yield some.pop()


def meeting(forward: np.ndarray, backward: np.ndarray) -> int:
    """How many frames of a stretch go to the pass from its start; the others to the one from its end.

    Args:
        forward, backward: ``[T]``, confidence of each pass in the frames of the stretch.
    """
    sums = np.concatenate([[0], np.cumsum(forward - backward)])
    return int(sums.argmax())


def from_the_end(life: Life, forward: np.ndarray, backward: np.ndarray, start: int) -> np.ndarray:
    """bool ``[T]``: in which of the frames from ``start`` on one label is taken from the pass from the end.

    Args:
        life: of the label.
        forward, backward: ``[T]``, its confidence in each pass.
        start: number of the first frame.
    """
    chosen = np.zeros(len(forward), bool)
    chosen[life.begin - start : life.given[0] - start] = True
    for before, after in pairwise(life.given):
        stretch = slice(before + 1 - start, after - start)
        chosen[stretch.start + meeting(forward[stretch], backward[stretch]) : stretch.stop] = True
    return chosen


def merged(forward: Sequence[Kept], backward: Sequence[Kept], given: Mapping[int, Given], start: int) -> Iterator[Kept]:
    """Both passes as one, frame by frame. Of two objects in one place the one of higher confidence is seen."""
    plan, passes = plan_of(given, start, start + len(forward)), (forward, backward)
    back: dict[int, np.ndarray] = {}
    alive: dict[int, np.ndarray] = {}
    for number, lives in plan.objects.items():
        sure = [np.array([kept.confidence.get(number, 0.0) for kept in found]) for found in passes]
        back[number], alive[number] = np.zeros(len(forward), bool), np.zeros(len(forward), bool)
        for life in lives:
            back[number] |= from_the_end(life, *sure, start)
            alive[number][life.begin - start : life.end - start] = True
    of_points = [
        from_the_end(life, *(np.array([kept.sure[number] for kept in found]) for found in passes), start)
        for number, life in enumerate(plan.points)
    ]
    for time, pair in enumerate(zip(forward, backward, strict=True)):
        masks = [kept.ids() for kept in pair]
        mask = np.zeros_like(masks[0])
        chosen = {number: int(back[number][time]) for number in alive if alive[number][time]}
        confidence = {n: pair[way].confidence[n] for n, way in chosen.items() if n in pair[way].confidence}
        # What is seen without being followed, as it fell between the cells where it was given, lies below.
        for number in sorted(chosen, key=lambda number: confidence.get(number, 0.0)):
            mask[masks[chosen[number]] == number] = number
        later = np.array([of_one[time] for of_one in of_points], bool)
        points = np.where(later[:, None], pair[1].points, pair[0].points)
        sure = np.where(later, pair[1].sure, pair[0].sure)
        asked = pair[0].occluded is not None
        occluded = np.where(later, pair[1].occluded, pair[0].occluded) if asked else None
        yield Kept(cv2.imencode('.png', mask)[1].tobytes(), confidence, points, sure, occluded)


def numbered(video: object, name: str, direction: Direction) -> Sequence[np.ndarray] | FrameSequence:
    """The frames of a video by number.

    Args:
        video: what the user gave.
        name: of the stream that was made of it, which for a file or folder is its path.
        direction: that they are needed for.

    Raises:
        ValueError: there is no such direction; a camera, or frames that come once. FrameError: frames of two sizes.
    """
    check_choice('direction', direction, ('forward', 'backward', 'both'))
    if os.path.isdir(name):
        return FrameSequence(list_images(name))
    if os.path.isfile(name):
        return FrameSequence(name)
    if isinstance(video, Sequence | np.ndarray) and not isinstance(video, str):
        deque(open_video(video).frames, maxlen=0)  # refuses what is no frame, or is of another size
        return video
    raise InputError(
        f'Labels that are to go backward need a video that can be read from its end: a file, a folder or a list of '
        f'frames, not {name}.'
    )
