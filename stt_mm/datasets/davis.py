"""DAVIS for semi-supervised evaluation: the masks of the first frame are given."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement

from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images
from stt_mm.utils.masks import read_object_ids

LAYOUT = (
    '<data_root>/JPEGImages/<resolution>/<video>/00000.jpg, <data_root>/Annotations/<resolution>/<video>/00000.png and '
    '<data_root>/ImageSets/<year>/<split>.txt'
)


@DATASETS.register_module()
class DAVIS(BaseDataset):
    """Videos of DAVIS-2016 or DAVIS-2017; one item is one whole video.

    An item is ``dict(inputs, data_samples)``: a :class:`FrameSequence`, and a ``BaseDataElement`` with the field
    ``first_mask`` (uint8 ``[H, W]`` ids at the original size, 255 read as background) and the metainfo ``video_id``,
    ``frame_names``, ``mask_paths`` (one path per frame; ``None`` where the split keeps the truth to itself),
    ``original_size`` (height, width) and ``single_object`` (DAVIS-2016: every non-zero pixel is object 1).

    Args:
        data_root: folder that holds ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        split: ``val``, ``train``, ``test-dev`` or any list in ``ImageSets``. Lines are video names, or pairs of paths
            as in the first release of DAVIS-2016.
        year: 2016 or 2017.
        resolution: folder below ``JPEGImages`` and ``Annotations``.
        short_side: pixels of the shorter side the frames are resized to, ``None`` for native frames. Masks are never
            resized.
        max_frames: use only the first frames of each video, for quick checks; ``None`` for all.
        indices: use the first (negative: last) n videos, or the listed ones; ``None`` for all.

    Raises:
        FileNotFoundError: a folder, list, video or mask is missing.
        ValueError: an argument out of its range, an empty list, or a first mask that does not fit its frame.
    """

    METAINFO = dict(dataset_name='DAVIS')

    def __init__(
        self,
        data_root: str,
        split: str = 'val',
        year: Literal[2016, 2017] = 2017,
        resolution: Literal['480p', 'Full-Resolution'] = '480p',
        short_side: int | None = 480,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        check_choice('year', year, (2016, 2017))
        if max_frames is not None and max_frames < 1:
            raise ValueError(f'DAVIS: max_frames must be 1 or more, or None, got {max_frames}.')
        self.split = split
        self.year = year
        self.resolution = resolution
        self.short_side = short_side
        self.max_frames = max_frames
        super().__init__(data_root=data_root, indices=indices, test_mode=True)

    def load_data_list(self) -> list[dict]:
        """One ``dict(video_id, frame_paths, mask_paths)`` per listed video."""
        videos = [self._load_video(video_id) for video_id in self._video_ids()]
        MMLogger.get_current_instance().info(
            'DAVIS-%d %s: %d videos, %d frames (%s)',
            self.year, self.split, len(videos), sum(len(video['frame_paths']) for video in videos), self.data_root,
        )  # fmt: skip
        return videos

    def __getitem__(self, index: int) -> dict:
        video = self.get_data_info(range(len(self))[index])
        frames = FrameSequence(video['frame_paths'], self.short_side, name=video['video_id'])
        mask_path, single_object = video['mask_paths'][0], self.year == 2016
        first_mask = read_object_ids(mask_path, single_object)
        if first_mask.shape != frames.original_size:
            raise ValueError(
                f'Mask {mask_path} is {first_mask.shape[0]}x{first_mask.shape[1]} (height x width), its frame '
                f'{frames.path(0)} is {frames.original_size[0]}x{frames.original_size[1]}. Take both from the same '
                'resolution of DAVIS.'
            )
        if not first_mask.any():
            raise ValueError(f'Mask {mask_path} has no object. The first mask must show what is to be followed.')
        metainfo = dict(
            video_id=video['video_id'],
            frame_names=frames.names,
            mask_paths=video['mask_paths'],
            original_size=frames.original_size,
            single_object=single_object,
        )
        return dict(inputs=frames, data_samples=BaseDataElement(metainfo=metainfo, first_mask=first_mask))

    def _video_ids(self) -> list[str]:
        folders = [str(self.year)] if self.year == 2017 else [str(self.year), self.resolution]
        candidates = [Path(self.data_root, 'ImageSets', folder, f'{self.split}.txt') for folder in folders]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f'DAVIS: list not found: {" or ".join(map(str, candidates))}. Expected {LAYOUT}. Download '
                f'DAVIS-{self.year}, or change data_root or split.'
            )
        first_words = [line.split()[0] for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
        video_ids = [word.split('/')[-2] if '/' in word else word for word in first_words]
        if not video_ids:
            raise ValueError(f'DAVIS: the list {path} is empty. Download it again.')
        return list(dict.fromkeys(video_ids))

    def _load_video(self, video_id: str) -> dict:
        frame_dir = Path(self.data_root, 'JPEGImages', self.resolution, video_id)
        mask_dir = Path(self.data_root, 'Annotations', self.resolution, video_id)
        for folder in (frame_dir, mask_dir):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f'DAVIS: no folder {folder}. Expected {LAYOUT}. Complete the download, or change data_root, split '
                    'or resolution.'
                )
        frame_paths = list_images(frame_dir)[: self.max_frames]
        if not frame_paths:
            raise FileNotFoundError(f'DAVIS: no frames in {frame_dir}. Complete the download.')
        wanted = [mask_dir / f'{Path(path).stem}.png' for path in frame_paths]
        present = {name for name in os.listdir(mask_dir) if name.endswith('.png') and not name.startswith('.')}
        mask_paths = [str(path) if path.name in present else None for path in wanted]
        # A split shows all masks or the first alone; anything else would quietly take the video out of the score.
        only_first = mask_paths[0] is not None and len(present) == 1
        if None in mask_paths and not only_first:
            raise FileNotFoundError(
                f'DAVIS: mask not found: {wanted[mask_paths.index(None)]} ({mask_paths.count(None)} of '
                f'{len(mask_paths)} are missing). Expected one per frame, or the first alone. Complete the download.'
            )
        return dict(video_id=video_id, frame_paths=frame_paths, mask_paths=mask_paths)
