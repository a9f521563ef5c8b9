"""TAP-Vid: points anywhere, given in any frame, with the frames in which something hides them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from stt_mm.datasets.benchmark import VideoBenchmark, given_alone, of_the_first
from stt_mm.errors import InputError, MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images, natural_key
from stt_mm.utils.pickles import array_of, read_pickle
from stt_mm.utils.point_file import checked_tracks, kind_of, read_point_file, to_pixels
from stt_mm.utils.text import check_there

LAYOUT = (
    'one official pickle (<name>.pkl), a folder of them, or the folders '
    '<data_root>/<video>/frames/00000.jpg with <data_root>/<video>/points.npz'
)
FRAMES, POINTS = 'frames', 'points.npz'
QUERY_EVERY = 5  # frames between those with queries, mode strided


@DATASETS.register_module()
class TAPVid(VideoBenchmark):
    """The videos of TAP-Vid (DAVIS, Kinetics, RGB-Stacking, RoboTAP), or others in its form.

    One query is one point to be followed; the same track may give several. ``given_points`` are those of each frame.
    The metainfo adds, for Q queries in the order of their frames, ``points``, float64 ``[T, Q, 2]``: (x, y) in pixels
    of the frames that count from 0 at the centre of the first one, ``occluded``, bool ``[T, Q]``, ``query_frames`` and
    ``query_order``, integers ``[Q]``: the frame of each, and its place in the order of the public code,
    ``query_mode``, and ``both_ways``, whether frames before that of a query count.

    Args:
        data_root: an official pickle, a folder of pickles such as the shards of Kinetics, which are all read, or a
            folder of videos: ``<video>/frames`` with images and ``<video>/points.npz`` with ``points``
            ``[N, T, 2]``, (x, y) from (0, 0), the upper left corner of the picture, to (1, 1), and ``occluded``
            ``[N, T]``.
        query_mode: ``first``: each track from the first frame in which it is visible; ``strided``: each track from
            every fifth frame in which it is visible, to both sides.
        size: (height, width) that all frames are resized to before anything else, as in the published evaluation;
            ``None``: frames as they are stored.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: nothing of the form is there.
        ValueError: an argument out of its range, a pickle that holds more than arrays, or arrays of other shapes.
    """

    METAINFO = dict(dataset_name='TAPVid')

    def __init__(
        self,
        data_root: str,
        query_mode: Literal['first', 'strided'] = 'first',
        size: tuple[int, int] | None = (256, 256),
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        check_choice('query_mode', query_mode, ('first', 'strided'))
        if size is not None and not (
            isinstance(size, Sequence) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
        ):
            raise InputError(f'TAPVid: size must be (height, width) in pixels, or None for native frames, got {size}.')
        self.query_mode = query_mode
        self.size = None if size is None else tuple(size)
        super().__init__(data_root, f'TAP-Vid {Path(data_root).stem}, {query_mode}', max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        root = Path(self.data_root)
        if root.is_file():
            return list(_of_pickle(root, ''))
        check_there(root, 'folder', 'TAPVid', LAYOUT, 'Complete the download, or change data_root.')
        pickles = sorted(root.glob('*.pkl'))
        if pickles:
            return [video for path in pickles for video in _of_pickle(path, f'{path.stem}/')]
        names = sorted((path.parent.name for path in root.glob(f'*/{POINTS}')), key=natural_key)
        if not names:
            raise MissingInputError(f'TAPVid: no video in {root}. Expected {LAYOUT}.')
        return [_of_folder(root / name) for name in names]

    def open_frames(self, video: dict) -> FrameSequence:
        return FrameSequence(video['frame_paths'], name=video['video_id'], images=video['images'], size=self.size)

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        tracks, born, order = self._queries(video)
        points = to_pixels(video['tracks'][tracks].swapaxes(0, 1), frames.original_size)
        given = {int(t): points[t, born == t].astype(np.float32) for t in np.unique(born)}
        metainfo = dict(
            points=points,
            occluded=video['occluded'][tracks].T,
            query_frames=born,
            query_order=order,
            query_mode=self.query_mode,
            both_ways=self.query_mode == 'strided',
        )
        return dict(given_points=given), {
            key: value[: len(frames)] if key in ('points', 'occluded') else value for key, value in metainfo.items()
        }

    def lack(self, video: dict) -> str | None:
        _, born, _ = self._queries(video)
        if not len(born):
            return f'no point of {Path(video["source"]).name} is visible{of_the_first(self.max_frames)}'
        if lack := given_alone(video, self.max_frames):
            return lack
        last = len(video['frame_paths']) - 1
        return (
            f'all points appear in the last frame, {last}' if self.query_mode == 'first' and min(born) == last else None
        )

    def _queries(self, video: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tracks, born = select_queries(video['occluded'][:, : len(video['frame_paths'])], self.query_mode)
        order = np.argsort(born, kind='stable')
        return tracks[order], born[order], order


def select_queries(occluded: np.ndarray, mode: Literal['first', 'strided']) -> tuple[np.ndarray, np.ndarray]:
    """Which points are asked for, as the benchmark chooses them.

    Args:
        occluded: bool ``[N, T]``.
        mode: see :class:`TAPVid`.

    Returns:
        The track and the frame of each query, integers ``[Q]``: by track in mode first, by frame in mode strided.
    """
    visible = ~occluded
    if mode == 'first':
        tracks = np.flatnonzero(visible.any(axis=1))
        return tracks, visible[tracks].argmax(axis=1)
    steps, tracks = np.nonzero(visible[:, ::QUERY_EVERY].T)
    return tracks, steps * QUERY_EVERY


def _of_pickle(path: Path, prefix: str) -> Iterator[dict]:
    """Records of the videos of a pickle: ``{name: video}`` or a list of videos."""
    content = read_pickle(path)
    if not isinstance(content, dict | list | tuple) or not content:
        raise InputError(f'{path} must hold videos by their names, or a list of videos, got {kind_of(content)}.')
    named = content if isinstance(content, dict) else {f'{number:04d}': video for number, video in enumerate(content)}
    for name, video in named.items():
        where = f'{path}, video {name}'
        if not isinstance(video, dict) or not {'video', 'points', 'occluded'} <= set(video):
            raise InputError(f'{where}: expected a dict with video, points and occluded, got {kind_of(video)}.')
        images = video['video']
        if (stored := array_of(images)) is not None:
            images = stored
            fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and images.size
        else:
            fits = isinstance(images, list | tuple) and images and all(isinstance(image, bytes) for image in images)
        if not fits:
            raise InputError(
                f'{where}: video must be uint8 [T, H, W, 3] or a list of encoded images, got {kind_of(images)}.'
            )
        tracks, occluded = checked_tracks(array_of(video['points']), array_of(video['occluded']), len(images), where)
        yield dict(
            video_id=f'{prefix}{name}',
            frame_paths=[str(path)] * len(images),
            source=str(path),
            images=images,
            tracks=tracks,
            occluded=occluded,
        )


def _of_folder(folder: Path) -> dict:
    check_there(folder / FRAMES, 'folder', 'TAPVid', LAYOUT, 'Complete the video, or remove its folder.')
    paths, path = list_images(folder / FRAMES), folder / POINTS
    if not paths:
        raise MissingInputError(f'TAPVid: no images in {folder / FRAMES}. Expected {LAYOUT}.')
    tracks, occluded = read_point_file(path, len(paths))
    return dict(
        video_id=folder.name, frame_paths=paths, source=str(path), images=None, tracks=tracks, occluded=occluded
    )
