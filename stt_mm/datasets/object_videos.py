"""MOSE, LVOS and SA-V: long videos whose objects may come later, and of which some frames have a truth."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from stt_mm.datasets.benchmark import VideoBenchmark, given_alone
from stt_mm.errors import InputError, MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.frame_masks import MAX_OBJECTS, FrameMasks, born, id_map, id_maps, object_folders
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images, natural_key
from stt_mm.utils.mask_file import read_mask_file
from stt_mm.utils.mask_folder import given_births
from stt_mm.utils.text import check_there, read_json, read_names, read_video_list
from stt_mm.utils.video import VideoReader


class ObjectVideos(VideoBenchmark):
    """Whole videos in which each object is given in the first frame that shows it.

    Subclasses say which videos there are and, in :meth:`load_truth`, what is known of their frames. ``given_masks``
    holds for each frame of birth the objects born there; where they overlap, smaller ones lie over larger ones. The
    metainfo adds

    * ``objects``: ``dict[int, dict]``, id to ``first_frame``, the index of the frame of birth;
    * ``truth``: one :class:`stt_mm.utils.mask_file.FrameMasks` per frame, which draws each object by itself, or
      ``None`` where the frame has no truth.

    Args:
        data_root: folder of the data.
        title: how the log calls the data.
        video_list: use only these videos: a text file (the first word of each line) or JSON file; relative paths count
            from ``data_root``.
        max_frames, indices, skip: see :class:`VideoBenchmark`.
    """

    def __init__(
        self,
        data_root: str,
        title: str,
        video_list: str | None = None,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        self.video_list = video_list
        super().__init__(data_root, title, max_frames, indices, skip)

    @abstractmethod
    def load_truth(self, video: dict, frames: FrameSequence) -> list[FrameMasks | None]:
        """What is known of each frame, from a record of :meth:`load_videos`."""

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        truth = self.load_truth(video, frames)
        given = born((t, frame) for t, frame in enumerate(truth) if frame is not None)
        if not given:
            raise InputError(f'{self.title}: no mask of {video["video_id"]} shows an object. Leave the video out.')
        births = {number: dict(first_frame=t) for number, t in given_births(given).items()}
        # Frame 0 is always there, though nothing may be given in it.
        given.setdefault(0, np.zeros(frames.original_size, np.uint8))
        return dict(given_masks=dict(sorted(given.items()))), dict(objects=dict(sorted(births.items())), truth=truth)

    def lack(self, video: dict) -> str | None:
        return given_alone(video, self.max_frames)

    def chosen(self, video_ids: Iterable[str]) -> list[str]:
        """Those of some videos that ``video_list`` names; all without."""
        video_ids = list(video_ids)
        if self.video_list is None:
            return video_ids
        path = Path(self.data_root, self.video_list)
        wanted = read_video_list(path)
        if unknown := sorted(set(wanted) - set(video_ids)):
            raise InputError(
                f'{self.title}: {len(unknown)} of {len(wanted)} videos of {path} are not there: '
                f'{", ".join(unknown[:5])}. Give a list of videos of this split.'
            )
        return wanted


class _Folders(ObjectVideos):
    """Videos in ``<data_root>/<split>/{JPEGImages,Annotations}/<video>``, masks of ids."""

    def __init__(
        self,
        data_root: str,
        split: str = 'valid',
        video_list: str | None = None,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        self.split = split
        name = type(self).__name__
        self.layout = f'<data_root>/{split}/{{JPEGImages,Annotations}}/<video>/<frame>.{{jpg,png}}'
        super().__init__(data_root, f'{name} {split}', video_list, max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        root = Path(self.data_root, self.split)
        for folder in (root / 'JPEGImages', root / 'Annotations'):
            self._there(folder)
        ids = sorted((path.name for path in (root / 'JPEGImages').iterdir() if path.is_dir()), key=natural_key)
        return [self._load_video(root, video_id) for video_id in self.chosen(ids)]

    def load_truth(self, video: dict, frames: FrameSequence) -> list[FrameMasks | None]:
        paths = [video['masks'].get(name) for name in frames.names]
        return id_maps(frames.names, paths, frames.original_size)

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        fields, metainfo = super().load_labels(video, frames)
        return fields, dict(metainfo, mask_paths=[video['masks'].get(name) for name in frames.names])

    def _load_video(self, root: Path, video_id: str) -> dict:
        folder = root / 'Annotations' / video_id
        self._there(folder)
        frame_paths = list_images(root / 'JPEGImages' / video_id)
        names = {Path(path).stem for path in frame_paths}
        masks = {Path(path).stem: path for path in list_images(folder) if path.lower().endswith('.png')}
        strange = sorted(masks.keys() - names, key=natural_key)
        if strange or not masks:
            fault = f'no frame for mask {strange[0]} of {video_id}' if strange else f'no masks in {folder}'
            raise MissingInputError(f'{self.title}: {fault}. Expected {self.layout}. Complete the download.')
        return dict(video_id=video_id, frame_paths=frame_paths, masks=masks)

    def _there(self, folder: Path) -> None:
        check_there(folder, 'folder', self.title, self.layout, 'Complete the download, or change data_root or split.')


@DATASETS.register_module()
class MOSE(_Folders):
    """Videos of a split of MOSE, ``<data_root>/<split>/{JPEGImages,Annotations}/<video>``.

    Of ``valid`` the masks of the first frames alone are public, so that nothing is scored; ``train`` is annotated in
    full, and a part of it that ``video_list`` names can be held out. Other data in this layout will do.

    Args:
        data_root: folder that holds ``<split>``.
        split: ``valid`` or ``train``, or any folder.
        video_list: see :class:`ObjectVideos`.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: a folder, or the frame of a mask, is missing.
        ValueError: a broken list; on access, a mask that does not fit its frame.
    """

    METAINFO = dict(dataset_name='MOSE')


@DATASETS.register_module()
class LVOS(_Folders):
    """Videos of a split of LVOS (either version), with ``<data_root>/<split>/<split>_meta.json``.

    The file says from which frame to which an object is annotated. Its truth is, as in the public evaluation, the masks
    with every fifth number from the first one, without the last one.

    Args:
        data_root: folder that holds ``<split>``.
        split: ``valid``, ``train`` or ``test``, of which no more than the given masks are public.
        video_list: see :class:`ObjectVideos`.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: a folder, the file, or the mask in which an object begins is missing.
        ValueError: a broken file or list; on access, a mask that does not fit its frame.
    """

    METAINFO = dict(dataset_name='LVOS')
    EVERY = 5

    def load_videos(self) -> list[dict]:
        path = Path(self.data_root, self.split, f'{self.split}_meta.json')
        layout = f'{self.layout} and <data_root>/{self.split}/{path.name}'
        check_there(path, 'file', self.title, layout, 'Complete the download, or change data_root or split.')
        ranges = read_ranges(path)
        videos = super().load_videos()
        for video in videos:
            if video['video_id'] not in ranges:
                raise InputError(f'{path} does not list video {video["video_id"]}. Take both from the same release.')
            video['ranges'] = ranges[video['video_id']]
            for number, (first, _) in video['ranges'].items():
                if first not in map(number_of, video['masks']):
                    raise MissingInputError(
                        f'{self.title}: object {number} of {video["video_id"]} begins in frame {first:08d} by {path}, '
                        'which has no mask. Complete the download.'
                    )
        return videos

    def load_truth(self, video: dict, frames: FrameSequence) -> list[FrameMasks | None]:
        truth: list[FrameMasks | None] = []
        for t, name in enumerate(frames.names):
            path, place = video['masks'].get(name), number_of(name)
            ids = [
                number
                for number, (first, last) in video['ranges'].items()
                if path is not None and first <= place < last and (place - first) % self.EVERY == 0
            ]
            truth.append(id_map(name, t, path, ids, frames.original_size) if ids else None)
        return truth


@DATASETS.register_module()
class SAV(ObjectVideos):
    """Videos of SA-V: ``val`` and ``test`` as images and a mask per object, ``train`` as video files with JSON.

    Every fourth frame has masks. Object ``000`` has the id 1. Objects may overlap, which one map of ids cannot say;
    the truth is that of each object by itself.

    Args:
        data_root: folder that holds ``sav_<split>``.
        split: ``val`` or ``test`` (``JPEGImages_24fps``, ``Annotations_6fps``, ``sav_<split>.txt``), or ``train``
            (``<video>.mp4`` beside ``<video>_<annotations>.json``, in folders of any depth).
        annotations: of ``train``: ``manual`` or ``auto``.
        video_list: see :class:`ObjectVideos`.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: a folder, list, video or the frame of a mask is missing.
        ValueError: an argument out of its range, a broken list or JSON file; on access, masks that do not fit.
    """

    METAINFO = dict(dataset_name='SA-V')
    LAYOUT = (
        '<data_root>/sav_val/{JPEGImages_24fps/<video>/00000.jpg,Annotations_6fps/<video>/000/00000.png,sav_val.txt}, '
        'or <data_root>/sav_train/.../{<video>.mp4,<video>_manual.json}'
    )

    def __init__(
        self,
        data_root: str,
        split: Literal['val', 'test', 'train'] = 'val',
        annotations: Literal['manual', 'auto'] = 'manual',
        video_list: str | None = None,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        check_choice('split', split, ('val', 'test', 'train'))
        check_choice('annotations', annotations, ('manual', 'auto'))
        self.split = split
        self.annotations = annotations
        super().__init__(data_root, f'SA-V {split}', video_list, max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        root = Path(self.data_root, f'sav_{self.split}')
        advice = 'Complete the download, or change data_root or split.'
        check_there(root, 'folder', self.title, self.LAYOUT, advice)
        if self.split == 'train':
            files = {path.name.removesuffix(self._suffix): path for path in root.rglob(f'*{self._suffix}')}
            return [self._of_file(video_id, files[video_id]) for video_id in self.chosen(sorted(files))]
        listing = root / f'sav_{self.split}.txt'
        check_there(listing, 'file', self.title, self.LAYOUT, advice)
        return [self._of_folder(root, video_id) for video_id in self.chosen(read_names(listing))]

    def open_frames(self, video: dict) -> FrameSequence:
        if video['file'] is None:
            return super().open_frames(video)
        images = _FramesOfFile(video['frame_paths'][0])
        return FrameSequence(video['frame_paths'], name=video['video_id'], images=images)

    def load_truth(self, video: dict, frames: FrameSequence) -> list[FrameMasks | None]:
        if video['file'] is not None:
            found = read_mask_file(video['file']).numbered()
            return [found.get(t) for t in range(len(frames))]
        found = object_folders(video['masks'], video['names'], frames.original_size)
        return [found.get(name) for name in frames.names]

    @property
    def _suffix(self) -> str:
        return f'_{self.annotations}.json'

    def _of_file(self, video_id: str, path: Path) -> dict:
        video = path.with_name(f'{video_id}.mp4')
        check_there(video, 'file', self.title, self.LAYOUT, 'Complete the download.')
        content = read_json(path)
        count = content.get('video_frame_count') if isinstance(content, dict) else None
        if type(count) not in (int, float) or not 1 <= count < 1e6:
            raise InputError(f'{path}: video_frame_count must be the number of frames, got {count!r:.80}.')
        return dict(video_id=video_id, frame_paths=[str(video)] * int(count), file=path)

    def _of_folder(self, root: Path, video_id: str) -> dict:
        frames, masks = root / 'JPEGImages_24fps' / video_id, root / 'Annotations_6fps' / video_id
        for folder in (frames, masks):
            check_there(folder, 'folder', self.title, self.LAYOUT, 'Complete the download.')
        paths = list_images(frames)
        names = [Path(path).stem for path in paths]
        return dict(video_id=video_id, frame_paths=paths, file=None, masks=masks, names=names)


class _FramesOfFile:
    """The frames of a video file, as images in memory are asked for. Picklable."""

    def __init__(self, path: str) -> None:
        self._reader = VideoReader(path)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._reader.read(index)


def number_of(name: str) -> int:
    """The number that a frame is called; -1 if it is none."""
    return int(name) if name.isdecimal() and len(name) < 10 else -1


def read_ranges(path: Path) -> dict[str, dict[int, tuple[int, int]]]:
    """Of the file of LVOS, the numbers of the first and last frame of each object, by video and id."""
    content = read_json(path)
    videos = content.get('videos') if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise InputError(f"{path} lists no videos. Expected {{'videos': {{video: {{'objects': ...}}}}}}.")
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for video_id, video in videos.items():
        objects = video.get('objects') if isinstance(video, dict) else None
        if not isinstance(objects, dict) or not objects:
            raise InputError(f'{path}: video {video_id} has no objects. Download the file again.')
        for key, entry in objects.items():
            span = entry.get('frame_range') if isinstance(entry, dict) else None
            ends = [str(span.get(end)) for end in ('start', 'end')] if isinstance(span, dict) else ['']
            valid_id = key.isdecimal() and len(key) < 10 and 1 <= int(key) <= MAX_OBJECTS
            if not valid_id or min(map(number_of, ends)) < 0:
                raise InputError(
                    f'{path}: object {key!r} of video {video_id} must have an id from 1 to {MAX_OBJECTS} and a '
                    f'frame_range with start and end, got {entry!r:.200}. Download the file again.'
                )
            found.setdefault(video_id, {})[int(key)] = (number_of(ends[0]), number_of(ends[1]))
    return found
