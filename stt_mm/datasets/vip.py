"""VIP (Video Instance-level Parsing): body parts or their instances, given in the first frame."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from stt_mm.datasets.benchmark import VideoBenchmark, check_mask_size, given_alone
from stt_mm.errors import InputError, MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images
from stt_mm.utils.masks import read_object_ids
from stt_mm.utils.text import check_there, read_instance_categories, read_video_list

LAYOUT = (
    '<data_root>/Images/<video>/<frame>.jpg, <data_root>/Annotations/{Category_ids,Instance_ids}/<video>/<frame>.png '
    'and <data_root>/lists/<split>_videos.txt'
)

NUM_PARTS = 19


@DATASETS.register_module()
class VIP(VideoBenchmark):
    """Videos of VIP; one item is one whole video, of which every 25th original frame is kept and annotated.

    ``given_masks`` holds frame 0 alone: with ``labels='category'`` the 19 parts (0 is background), with
    ``'instance'`` one id per part of each person. The metainfo adds ``mask_paths`` (T paths) and, for instances,

    * ``text_paths``: T files with one line ``id category`` per instance;
    * ``categories``: ``dict[int, int]``, id to category in frame 0;
    * ``with_scores``: ``True``, the model must say how sure it is of each id.

    Args:
        data_root: the folder ``VIP_Fine``, which holds ``Images``, ``Annotations`` and ``lists``. Category masks may
            also lie in ``Annotations/<video>`` directly, where STT's code looks for them.
        labels: ``'category'`` (scored by mIoU) or ``'instance'`` (scored by AP).
        split: ``<split>_videos.txt`` in ``lists`` names the videos.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: a list, a folder, a mask or the text beside an instance mask is missing.
        ValueError: an argument out of its range, an empty list, or first masks with ids that are no parts; on access, a
            mask that does not fit its frame, or a text file that is broken or does not name every id of the mask.
    """

    METAINFO = dict(dataset_name='VIP')

    def __init__(
        self,
        data_root: str,
        labels: Literal['category', 'instance'] = 'category',
        split: str = 'val',
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        check_choice('labels', labels, ('category', 'instance'))
        self.labels = labels
        self.split = split
        super().__init__(data_root, f'VIP {split} ({labels})', max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        path = Path(self.data_root, 'lists', f'{self.split}_videos.txt')
        check_there(path, 'file', 'VIP', LAYOUT, 'Unpack VIP_Fine, or change data_root or split.')
        return [self._load_video(video_id) for video_id in read_video_list(path)]

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        mask_paths = video['mask_paths'][: len(frames)]
        mask = read_object_ids(mask_paths[0])
        check_mask_size(mask, mask_paths[0], frames)
        metainfo = dict(mask_paths=mask_paths)
        if self.labels == 'instance':
            text_paths = [str(Path(path).with_suffix('.txt')) for path in mask_paths]
            categories = read_instance_categories(text_paths[0])
            nameless = sorted(set(mask[mask > 0].tolist()) - set(categories))
            if nameless:
                raise InputError(
                    f'{text_paths[0]} has no line for instance {nameless[0]} of {mask_paths[0]}. Take both from the '
                    'same release.'
                )
            metainfo.update(text_paths=text_paths, categories=categories, with_scores=True)
        return dict(given_masks={0: mask}), metainfo

    def lack(self, video: dict) -> str | None:
        if self.labels == 'instance' or len(video['frame_paths']) < 2:
            return given_alone(video, self.max_frames)
        path = video['mask_paths'][0]
        strange = [number for number in np.unique(read_object_ids(path)).tolist() if number > NUM_PARTS]
        return f'the first mask, {path}, holds {strange}, parts are 1 to {NUM_PARTS}' if strange else None

    def _load_video(self, video_id: str) -> dict:
        frame_dir = Path(self.data_root, 'Images', video_id)
        mask_dir = mask_folder(self.data_root, self.labels, video_id)
        for folder in (frame_dir, mask_dir):
            check_there(folder, 'folder', 'VIP', LAYOUT, 'Complete the download, or change data_root or split.')
        frame_paths = list_images(frame_dir)
        if not frame_paths:
            raise MissingInputError(f'VIP: no frames in {frame_dir}. Complete the download.')
        suffixes = ('.png', '.txt') if self.labels == 'instance' else ('.png',)
        wanted = [f'{Path(path).stem}{suffix}' for path in frame_paths for suffix in suffixes]
        present = set(os.listdir(mask_dir))
        missing = [name for name in wanted if name not in present]
        if missing:
            raise MissingInputError(
                f'VIP: annotation not found: {mask_dir / missing[0]} ({len(missing)} of {len(wanted)} are missing). '
                'Complete the download.'
            )
        mask_paths = [str(mask_dir / f'{Path(path).stem}.png') for path in frame_paths]
        return dict(video_id=video_id, frame_paths=frame_paths, mask_paths=mask_paths)


def mask_folder(data_root: str | Path, labels: Literal['category', 'instance'], video_id: str) -> Path:
    """Where the masks of a video lie."""
    annotations = Path(data_root, 'Annotations')
    folder = annotations / ('Instance_ids' if labels == 'instance' else 'Category_ids') / video_id
    direct = annotations / video_id
    return direct if labels == 'category' and not folder.is_dir() and direct.is_dir() else folder
