"""DAVIS for semi-supervised evaluation: the masks of the first frame are given."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from stt_mm.datasets.benchmark import VideoBenchmark, check_mask_size, of_the_first
from stt_mm.errors import InputError, MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.drawn_masks import check_drawn, drop_void, made_for_ids
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images
from stt_mm.utils.masks import lack_of_objects, load_mask, read_object_ids
from stt_mm.utils.text import check_name, check_there, read_words

LAYOUT = (
    '<data_root>/JPEGImages/<resolution>/<video>/00000.jpg, <data_root>/Annotations/<resolution>/<video>/00000.png and '
    '<data_root>/ImageSets/<year>/<split>.txt'
)


@DATASETS.register_module()
class DAVIS(VideoBenchmark):
    """Videos of DAVIS-2016 or DAVIS-2017; one item is one whole video.

    ``given_masks`` holds frame 0 alone (uint8 ``[H, W]`` ids, 255 read as background). The metainfo adds
    ``mask_paths`` (one path per frame; ``None`` where the truth is not known) and ``single_object`` (DAVIS-2016: every
    non-zero pixel is object 1).

    Args:
        data_root: folder that holds ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        split: ``val``, ``train``, ``test-dev`` or any list in ``ImageSets``. Lines are video names, or pairs of paths
            as in the first release of DAVIS-2016.
        year: 2016 or 2017.
        resolution: folder below ``JPEGImages`` and ``Annotations``; ``''`` where the videos are in these directly, as
            in Long-time Video.
        annotations: which frames have a mask: ``'full'``, all of them or the first alone (test-dev); ``'sparse'``, the
            first and any others, which alone are scored. Not told from the files, as a download that is not complete
            looks the same.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: a folder, list, video or mask is missing.
        ValueError: an argument out of its range, an empty list, videos without an object or with fewer than three
            frames to score, or, on access, a first mask that does not fit its frame or, where it has not the palette of
            DAVIS, shows no ids without a guess (:mod:`stt_mm.utils.drawn_masks`).
    """

    METAINFO = dict(dataset_name='DAVIS')

    def __init__(
        self,
        data_root: str,
        split: str = 'val',
        year: Literal[2016, 2017] = 2017,
        resolution: str = '480p',
        annotations: Literal['full', 'sparse'] = 'full',
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        check_choice('year', year, (2016, 2017))
        check_choice('annotations', annotations, ('full', 'sparse'))
        self.split = split
        self.year = year
        self.resolution = resolution
        self.annotations = annotations
        super().__init__(data_root, f'DAVIS-{year} {split}', max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        video_ids = self._video_ids()
        levels = [Path(self.data_root, kind) for kind in ('JPEGImages', 'Annotations')]
        if not any((level / self.resolution).is_dir() for level in levels) and (levels[0] / video_ids[0]).is_dir():
            raise MissingInputError(
                f'DAVIS: no folder {levels[0] / self.resolution}; the videos are in {levels[0]} directly. Set '
                "resolution='' for such data."
            )
        return [self._load_video(video_id) for video_id in video_ids]

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        mask_paths, single_object = video['mask_paths'][: len(frames)], self.year == 2016
        first_mask = read_object_ids(mask_paths[0], single_object)
        check_mask_size(first_mask, mask_paths[0], frames)
        stored, palette = load_mask(mask_paths[0])
        if not single_object and not made_for_ids(stored, palette):  # In the layout of DAVIS, but none of its files.
            check_drawn(stored, palette, f'Mask {mask_paths[0]}')
            drop_void(stored, f'Mask {mask_paths[0]}')
        return dict(given_masks={0: first_mask}), dict(mask_paths=mask_paths, single_object=single_object)

    def lack(self, video: dict) -> str | None:
        mask_paths = video['mask_paths'][: len(video['frame_paths'])]
        if reason := lack_of_objects(mask_paths[0], self.year == 2016):
            return reason
        known = len(mask_paths) - mask_paths.count(None)
        if known < 3 and (self.annotations == 'sparse' or None not in video['mask_paths']):
            cut = of_the_first(self.max_frames)
            return f'frames with masks{cut}: {known}, of which the first and the last do not count'
        return None

    def _video_ids(self) -> list[str]:
        candidates = list_files(self.data_root, self.year, self.split, self.resolution)
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise MissingInputError(
                f'DAVIS: list not found: {" or ".join(map(str, candidates))}. Expected {LAYOUT}. Download '
                f'DAVIS-{self.year}, or change data_root or split.'
            )
        return read_davis_list(path)

    def _load_video(self, video_id: str) -> dict:
        frame_dir = Path(self.data_root, 'JPEGImages', self.resolution, video_id)
        mask_dir = Path(self.data_root, 'Annotations', self.resolution, video_id)
        for folder in (frame_dir, mask_dir):
            advice = 'Complete the download, or change data_root, split or resolution.'
            check_there(folder, 'folder', 'DAVIS', LAYOUT, advice)
        frame_paths = list_images(frame_dir)
        if not frame_paths:
            raise MissingInputError(f'DAVIS: no frames in {frame_dir}. Complete the download.')
        wanted = [mask_dir / f'{Path(path).stem}.png' for path in frame_paths]
        present = {name for name in os.listdir(mask_dir) if name.endswith('.png') and not name.startswith('.')}
        mask_paths = [str(path) if path.name in present else None for path in wanted]
        if self.annotations == 'sparse':
            strange = sorted(present - {path.name for path in wanted})
            if mask_paths[0] is None or strange:
                fault = f'no mask for frame {frame_paths[0]}' if strange == [] else f'no frame for mask {strange[0]}'
                raise MissingInputError(
                    f'DAVIS: {fault} in {mask_dir}. Sparse annotations are the mask of the first frame and of any '
                    'others, named like their frames. Rename or remove what is not.'
                )
        # Anything else would quietly take frames, or the whole video, out of the score.
        elif None in mask_paths and (mask_paths[0] is None or len(present) > 1):
            raise MissingInputError(
                f'DAVIS: mask not found: {wanted[mask_paths.index(None)]} ({mask_paths.count(None)} of '
                f'{len(mask_paths)} are missing). Expected one per frame, or the first alone. Complete the download; '
                "if there are no others, annotations='sparse' scores the frames that have one."
            )
        return dict(video_id=video_id, frame_paths=frame_paths, mask_paths=mask_paths)


def list_files(data_root: str | Path, year: int, split: str, resolution: str) -> list[Path]:
    """Where the list of a split may lie; the first that is there counts."""
    folders = [str(year)] if year == 2017 else [str(year), resolution]
    return [Path(data_root, 'ImageSets', folder, f'{split}.txt') for folder in folders]


def read_davis_list(path: str | Path) -> list[str]:
    """The videos of a list, whose lines begin with the name of one or with the path of one of its frames."""
    video_ids = []
    for first, *_ in read_words(path):
        parts = [part for part in first.split('/') if part]
        if parts:
            video_ids.append(parts[-2] if len(parts) > 1 and Path(parts[-1]).suffix else parts[-1])
    if not video_ids:
        raise InputError(f'DAVIS: the list {path} is empty. Download it again.')
    for video_id in video_ids:
        check_name(video_id, path)
    return list(dict.fromkeys(video_ids))
