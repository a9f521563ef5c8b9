"""YouTube-VOS for semi-supervised evaluation: each object is given where it first appears."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from mmengine.logging import MMLogger

from stt_mm.datasets.benchmark import VideoBenchmark, check_mask_size, of_the_first
from stt_mm.errors import InputError, MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images, natural_key
from stt_mm.utils.masks import read_object_ids
from stt_mm.utils.text import check_name, check_there, read_json, read_video_list

LAYOUT = (
    '<data_root>/<split>/meta.json, <data_root>/<split>/JPEGImages/<video>/<frame>.jpg and '
    '<data_root>/<split>/Annotations/<video>/<frame>.png'
)

HIDDEN = ('valid', 'test')  # Splits whose truth is not public.


@DATASETS.register_module()
class YouTubeVOSBenchmark(VideoBenchmark):
    """Videos of one split of YouTube-VOS as it is unpacked; one item is one whole video.

    ``meta.json`` lists the frames of each object. The frames of a video are the union over its objects; an object is
    born in the first of its frames, and ``given_masks`` holds for each frame of birth the objects born there and no
    others, whatever else its mask shows. The metainfo adds

    * ``objects``: ``dict[int, dict]``, id to ``category`` (``None`` where the split does not tell) and
      ``first_frame`` (index), for the objects born in the frames that are used;
    * ``output_frames``: one bool per frame, ``True`` for the listed ones, which are scored and submitted;
    * ``mask_paths``: one path per frame, ``None`` where there is no mask file. In ``valid`` only frames of birth have
      one; a video can be scored if all its output frames do;
    * ``truth_known``: ``False`` in ``valid`` and ``test`` where only frames of birth have a mask, which need not show
      what was born before.

    Args:
        data_root: folder that holds ``<split>``.
        year: 2018 or 2019, the release, which names results. The layouts are the same.
        split: ``valid``, ``test``, or ``train`` for scores of one's own.
        all_frames: take the frames, at 30 per second, from ``<split>_all_frames/JPEGImages``, from the first to the
            last listed one; otherwise only the listed ones, every fifth.
        video_list: use only these videos, such as a part of ``train`` that is held out: a text file (the first word of
            each line) or JSON file; relative paths count from ``data_root``. ``None`` for all of ``meta.json``.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: ``meta.json``, a folder, a listed frame or the mask of a frame of birth is missing.
        ValueError: a broken ``meta.json`` or list, videos with nothing to score; on access, a mask that does not fit
            its frame or does not show an object that is born there.
    """

    METAINFO = dict(dataset_name='YouTube-VOS')

    def __init__(
        self,
        data_root: str,
        year: Literal[2018, 2019] = 2018,
        split: str = 'valid',
        all_frames: bool = False,
        video_list: str | None = None,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        check_choice('year', year, (2018, 2019))
        self.year = year
        self.split = split
        self.all_frames = all_frames
        self.video_list = video_list
        title = f'YouTube-VOS-{year} {split}{" (all frames)" if all_frames else ""}'
        super().__init__(data_root, title, max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        path = Path(self.data_root, self.split, 'meta.json')
        meta = read_meta(path)
        video_ids = sorted(meta)
        if self.video_list is not None:
            list_path = Path(self.data_root, self.video_list)
            video_ids = read_video_list(list_path)
            unknown = [video_id for video_id in video_ids if video_id not in meta]
            if unknown:
                raise InputError(
                    f'{self.title}: {len(unknown)} of {len(video_ids)} videos of {list_path} are not in {path}: '
                    f'{", ".join(unknown[:5])}. Give a list of videos of this split.'
                )
        videos = [self._load_video(video_id, meta[video_id]) for video_id in video_ids]
        partial = [video['video_id'] for video in videos if video['partial']]
        if partial:
            MMLogger.get_current_instance().warning(
                '%s: %d videos have masks for a part of their frames only, beyond those in which an object first '
                'appears, and cannot be scored: %s. Complete the download if this split is fully annotated.',
                self.title,
                len(partial),
                ', '.join(partial[:5]),
            )
        return videos

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        index = {name: t for t, name in enumerate(frames.names)}
        objects = {
            number: dict(category=entry['category'], first_frame=index[entry['frames'][0]])
            for number, entry in video['objects'].items()
            if entry['frames'][0] in index
        }
        given_masks = {}
        for t in sorted({entry['first_frame'] for entry in objects.values()}):
            path = video['mask_paths'][frames.names[t]]
            born = [number for number, entry in objects.items() if entry['first_frame'] == t]
            mask = read_object_ids(path)
            check_mask_size(mask, path, frames, t)
            absent = sorted(set(born) - set(np.unique(mask).tolist()))
            if absent:
                raise InputError(
                    f'Mask {path} does not show object {absent[0]}, which meta.json lists from this frame on. Take '
                    'meta.json and Annotations from the same release.'
                )
            given_masks[t] = np.where(np.isin(mask, born), mask, 0).astype(np.uint8)
        metainfo = dict(
            objects=objects,
            output_frames=[name in video['listed'] for name in frames.names],
            mask_paths=[video['mask_paths'].get(name) for name in frames.names],
            truth_known=video['truth_known'],
        )
        return dict(given_masks=given_masks), metainfo

    def lack(self, video: dict) -> str | None:
        # An object is born in the first listed frame, so that any other can be scored.
        listed = sum(Path(path).stem in video['listed'] for path in video['frame_paths'])
        if not video['truth_known'] or listed > 1:
            return None
        return f'frames{of_the_first(self.max_frames)}: {listed}, with none after the first of an object'

    def _load_video(self, video_id: str, objects: dict[int, dict]) -> dict:
        listed = sorted({name for entry in objects.values() for name in entry['frames']}, key=natural_key)
        folder = f'{self.split}_all_frames' if self.all_frames else self.split
        frame_dir = Path(self.data_root, folder, 'JPEGImages', video_id)
        mask_dir = Path(self.data_root, self.split, 'Annotations', video_id)
        for directory in (frame_dir, mask_dir):
            layout = f'{LAYOUT} and the frames in <data_root>/{folder}' if self.all_frames else LAYOUT
            advice = 'Complete the download, or change data_root, split or all_frames.'
            check_there(directory, 'folder', self.title, layout, advice)
        images = {Path(path).stem: path for path in list_images(frame_dir)}
        missing = [name for name in listed if name not in images]
        if missing:
            raise MissingInputError(
                f'{self.title}: frame not found: {frame_dir / missing[0]}.jpg ({len(missing)} of the {len(listed)} '
                'that meta.json lists are missing). Complete the download.'
            )
        names = [name for name in images if name in set(listed)]
        if self.all_frames:
            everything = list(images)
            names = everything[everything.index(listed[0]) : everything.index(listed[-1]) + 1]
        present = {name[:-4] for name in os.listdir(mask_dir) if name.endswith('.png')}
        births = {entry['frames'][0] for entry in objects.values()}
        if births - present:
            raise MissingInputError(
                f'{self.title}: mask not found: {mask_dir / min(births - present)}.png, in which an object first '
                f'appears ({len(births - present)} of {len(births)} are missing). Complete the download.'
            )
        return dict(
            video_id=video_id,
            frame_paths=[images[name] for name in names],
            mask_paths={name: str(mask_dir / f'{name}.png') for name in listed if name in present},
            objects=objects,
            listed=set(listed),
            partial=not births >= present & set(listed) and not present >= set(listed),
            truth_known=self.split not in HIDDEN or not births >= present & set(listed),
        )


def read_meta(path: str | Path) -> dict[str, dict[int, dict]]:
    """Objects of each video, from ``meta.json``.

    Returns:
        ``{video: {id: dict(category, frames)}}``; ``frames`` (names in order) is not empty, ``category`` may be
        ``None``.
    """
    path = Path(path)
    check_there(path, 'file', 'YouTube-VOS', LAYOUT, 'Unpack YouTube-VOS there, or change data_root.')
    content = read_json(path)
    videos = content.get('videos') if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise InputError(f"{path} lists no videos. Expected {{'videos': {{video: {{'objects': ...}}}}}}.")
    return {video_id: _parse_objects(path, video_id, video) for video_id, video in videos.items()}


def _parse_objects(path: Path, video_id: str, video: object) -> dict[int, dict]:
    check_name(video_id, path)
    objects = video.get('objects') if isinstance(video, dict) else None
    if not isinstance(objects, dict) or not objects:
        raise InputError(f'{path}: video {video_id} has no objects. Download the file again.')
    parsed = {}
    for key, entry in objects.items():
        frames = entry.get('frames') if isinstance(entry, dict) else None
        valid_id = key.isdecimal() and len(key) < 10 and 1 <= int(key) <= 254
        if not valid_id or not isinstance(frames, list) or not frames or not all(isinstance(f, str) for f in frames):
            raise InputError(
                f'{path}: object {key!r} of video {video_id} must have an id from 1 to 254 and a list of its frames, '
                f'got {entry!r:.200}. Download the file again.'
            )
        for frame in frames:
            check_name(frame, path)
        parsed[int(key)] = dict(category=entry.get('category'), frames=sorted(frames, key=natural_key))
    return dict(sorted(parsed.items()))
