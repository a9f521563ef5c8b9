"""What is found in a frame, and the points of a whole video, from one pass or from two."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from stt_mm.ops.points import LOST


@dataclass(frozen=True)
class FrameLabels:
    """What was found in one frame.

    Attributes:
        mask: uint8 ``[H, W]``, ids of all objects given so far, new ones over those that were there; 0 elsewhere.
        points: float32 ``[J, 2]``, (x, y) in pixels of all points given so far, in the order given, (-1, -1) where one
            is lost.
        scores: id to the mean value with which it won its pixels, if asked for.
        occluded: bool ``[J]``, whether something hides a point, or it is lost; ``None`` under a protocol that does not
            ask.
        confidence: id to a number of 0 to 1 (:func:`stt_mm.models.confidence.confidences`), if asked for.
        point_confidence: float32 ``[J]``, the same for points, NaN where one is followed no longer; ``None`` without.
    """

    mask: np.ndarray
    points: np.ndarray
    scores: dict[int, float] | None = None
    occluded: np.ndarray | None = None
    confidence: dict[int, float] | None = None
    point_confidence: np.ndarray | None = None


@dataclass(frozen=True)
class Edits:
    """What changes in a frame for labels that are followed already, besides masks that are given again.

    Attributes:
        moved: number of a point, from 0 in the order given, to the (x, y) in pixels to which it is corrected.
        delete: ids of objects that are followed no longer from this frame on.
        delete_points: numbers of points likewise.
    """

    moved: Mapping[int, ArrayLike] = field(default_factory=dict)
    delete: Collection[int] = ()
    delete_points: Collection[int] = ()


@dataclass(frozen=True)
class PointTracks:
    """Points in the order of the frames that they were given in.

    Attributes:
        points: float32 ``[T, J, 2]``, (x, y) in pixels, (-1, -1) where a point is lost or not yet given.
        occluded: bool ``[T, J]``, true where a point is not yet given; ``None`` where it was not asked for.
    """

    points: np.ndarray
    occluded: np.ndarray | None

    @classmethod
    def of(cls, found: Sequence[FrameLabels]) -> 'PointTracks':
        """Those of all frames of one pass."""
        points = np.full((len(found), *found[-1].points.shape), LOST, np.float32)
        occluded = None if found[-1].occluded is None else np.ones(points.shape[:2], bool)
        for time, labels in enumerate(found):
            points[time, : len(labels.points)] = labels.points
            if labels.occluded is not None:
                occluded[time, : len(labels.points)] = labels.occluded
        return cls(points, occluded)

    def joined(self, back: 'PointTracks', given: Mapping[int, np.ndarray]) -> 'PointTracks':
        """Each point before its frame from a pass that began with the last frame, else from this one.

        Args:
            back: the other pass, its frames and the order of its points as it saw them.
            given: the points of both passes by their frame.
        """
        frames = sorted(given)
        numbers = np.split(np.arange(self.points.shape[1]), np.cumsum([len(given[t]) for t in frames])[:-1])
        # The pass from the end met the frames in the reverse order, and those of each in the same one.
        place = np.argsort(np.concatenate(numbers[::-1]))
        born = np.repeat(frames, [len(given[t]) for t in frames])
        before = np.arange(len(self.points))[:, None] < born
        points = np.where(before[..., None], back.points[::-1, place], self.points)
        if self.occluded is None:
            return PointTracks(points, None)
        return PointTracks(points, np.where(before, back.occluded[::-1, place], self.occluded))
