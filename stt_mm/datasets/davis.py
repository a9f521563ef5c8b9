"""DAVIS for semi-supervised evaluation: the masks of the first frame are given."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.drawn_masks import check_drawn, drop_void, made_for_ids
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images
from stt_mm.utils.mask_files import load_mask
from stt_mm.utils.masks import read_object_ids

from ..errors import InputError, MissingInputError
from .benchmark import VideoBenchmark, check_mask_size

LAYOUT = (
    '<data_root>/JPEGImages/<resolution>/<video>/00000.jpg, <data_root>/Annotations/<resolution>/<video>/00000.png and '
    '<data_root>/ImageSets/<year>/<split>.txt'
)


@DATASETS.register_module()
class DAVIS(VideoBenchmark):
    """Videos of DAVIS-2016 or DAVIS-2017; one item is one whole video.

    ``given_masks`` holds frame 0 alone (uint8 ``[H, W]`` ids, 255 read as background). The metainfo adds
    ``mask_paths`` (one path per frame; ``None`` where the split keeps the truth to itself) and ``single_object``
    (DAVIS-2016: every non-zero pixel is object 1).

    Args:
        data_root: folder that holds ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        split: ``val``, ``train``, ``test-dev`` or any list in ``ImageSets``. Lines are video names, or pairs of paths
            as in the first release of DAVIS-2016.
        year: 2016 or 2017.
        resolution: folder below ``JPEGImages`` and ``Annotations``.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: a folder, list, video or mask is missing.
        ValueError: an argument out of its range, an empty list, a first mask that does not fit its frame, or, where it
            has not the palette of DAVIS, one that shows no ids without a guess (:mod:`stt_mm.utils.drawn_masks`).
    """

    METAINFO = dict(dataset_name='DAVIS')

    def __init__(
        self,
        data_root: str,
        split: str = 'val',
        year: Literal[2016, 2017] = 2017,
        resolution: Literal['480p', 'Full-Resolution'] = '480p',
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        check_choice('year', year, (2016, 2017))
        self.split = split
        self.year = year
        self.resolution = resolution
        super().__init__(data_root, f'DAVIS-{year} {split}', max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        return [self._load_video(video_id) for video_id in self._video_ids()]

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        mask_paths, single_object = video['mask_paths'][: len(frames)], self.year == 2016
        first_mask = read_object_ids(mask_paths[0], single_object)
        check_mask_size(first_mask, mask_paths[0], frames)
        if not first_mask.any():
            raise InputError(f'Mask {mask_paths[0]} has no object (255 is void). The first mask must show what is '
                             'to be followed.')
        stored, palette = load_mask(mask_paths[0])
        if not single_object and not made_for_ids(stored, palette):  # In the layout of DAVIS, but none of its files.
            check_drawn(stored, palette, f'Mask {mask_paths[0]}')
            drop_void(stored, f'Mask {mask_paths[0]}')
        return dict(given_masks={0: first_mask}), dict(mask_paths=mask_paths, single_object=single_object)

    def _video_ids(self) -> list[str]:
        folders = [str(self.year)] if self.year == 2017 else [str(self.year), self.resolution]
        candidates = [Path(self.data_root, 'ImageSets', folder, f'{self.split}.txt') for folder in folders]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise MissingInputError(
                f'DAVIS: list not found: {" or ".join(map(str, candidates))}. Expected {LAYOUT}. Download '
                f'DAVIS-{self.year}, or change data_root or split.'
            )
        first_words = [line.split()[0] for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
        video_ids = [word.split('/')[-2] if '/' in word else word for word in first_words]
        if not video_ids:
            raise InputError(f'DAVIS: the list {path} is empty. Download it again.')
        return list(dict.fromkeys(video_ids))

    def _load_video(self, video_id: str) -> dict:
        frame_dir = Path(self.data_root, 'JPEGImages', self.resolution, video_id)
        mask_dir = Path(self.data_root, 'Annotations', self.resolution, video_id)
        for folder in (frame_dir, mask_dir):
            if not folder.is_dir():
                raise MissingInputError(
                    f'DAVIS: no folder {folder}. Expected {LAYOUT}. Complete the download, or change data_root, split '
                    'or resolution.'
                )
        frame_paths = list_images(frame_dir)
        if not frame_paths:
            raise MissingInputError(f'DAVIS: no frames in {frame_dir}. Complete the download.')
        wanted = [mask_dir / f'{Path(path).stem}.png' for path in frame_paths]
        present = {name for name in os.listdir(mask_dir) if name.endswith('.png') and not name.startswith('.')}
        mask_paths = [str(path) if path.name in present else None for path in wanted]
        # A split shows all masks or the first alone; anything else would quietly take the video out of the score.
        only_first = mask_paths[0] is not None and len(present) == 1
        if None in mask_paths and not only_first:
            raise MissingInputError(
                f'DAVIS: mask not found: {wanted[mask_paths.index(None)]} ({mask_paths.count(None)} of '
                f'{len(mask_paths)} are missing). Expected one per frame, or the first alone. Complete the download.'
            )
        return dict(video_id=video_id, frame_paths=frame_paths, mask_paths=mask_paths)
