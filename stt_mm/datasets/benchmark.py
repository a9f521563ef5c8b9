"""What all evaluation datasets share: one item is one whole video with what the model is given of its labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement

from stt_mm.errors import InputError
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.text import check_name


def of_the_first(max_frames: int | None) -> str:
    """How messages say that the number of frames is limited by an argument."""
    return '' if max_frames is None else f' among the first {max_frames} (max_frames)'


def given_alone(video: dict, max_frames: int | None) -> str | None:
    """What a video lacks that has no frame but the one whose labels are given."""
    return None if len(video['frame_paths']) > 1 else f'frames{of_the_first(max_frames)}: 1, whose labels are given'


class UnscorableVideos(InputError):
    """Videos of which nothing could be scored, though nothing of them is missing.

    Args:
        title: how the data is called.
        reasons: what each of the videos lacks, by id.
    """

    def __init__(self, title: str, reasons: dict[str, str]) -> None:
        super().__init__(title, reasons)
        self.title = title
        self.reasons = reasons

    def __str__(self) -> str:
        faults = '; '.join(f'{video_id}: {reason}' for video_id, reason in self.reasons.items())
        return (
            f'{self.title}: {len(self.reasons)} videos cannot be scored ({faults}). Leave them out by '
            f'test_dataloader.dataset.skip=[{",".join(self.reasons)}], or take them off the list.'
        )


class VideoBenchmark(BaseDataset, ABC):
    """Whole annotated videos. Subclasses say which there are (:meth:`load_videos`), what is given
    (:meth:`load_labels`) and, where not every video will do, what one lacks (:meth:`lack`).

    An item is ``dict(inputs, data_samples)``: a lazy :class:`FrameSequence` of native frames, and a
    ``BaseDataElement`` with the metainfo ``video_id``, ``frame_names`` (T names), ``original_size`` (height, width),
    ``max_frames`` (the argument) and whatever the metric needs, and one of the fields

    * ``given_masks``: ``dict[int, np.ndarray]``, frame index to uint8 ``[H, W]`` ids of the objects that first appear
      in that frame, 0 elsewhere. Key 0 is always there.
    * ``given_points``: ``dict[int, np.ndarray]``, frame index to float32 ``[J, 2]``, (x, y) in pixels that start at
      0, of the points that are new there. With the metainfo ``both_ways=True`` they are followed to the frames before
      theirs as well.

    Args:
        data_root: folder of the data.
        title: how the log calls the data, such as ``'DAVIS-2017 val'``.
        max_frames: use only the first frames of each video, for quick checks; ``None`` for all.
        indices: use the first (negative: last) n videos, or the listed ones; ``None`` for all.
        skip: ids of videos to leave out of what ``indices`` chooses, because they are done or cannot be scored. Nothing
            may be left.

    Raises:
        FileNotFoundError: a folder, list, video or label is missing.
        ValueError: an argument out of its range, no video, a video that is listed twice or whose id points out of the
            folders, or videos that cannot be scored (:class:`UnscorableVideos`).
    """

    def __init__(
        self,
        data_root: str,
        title: str,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        name = type(self).__name__
        if max_frames is not None and max_frames < 1:
            raise InputError(f'{name}: max_frames must be 1 or more, or None, got {max_frames}.')
        if isinstance(skip, str):
            raise InputError(f"{name}: skip must be a list of video ids, got the string {skip!r}. Write ['{skip}'].")
        self.title = title
        self.max_frames = max_frames
        self.skip = frozenset(skip)
        # MMEngine cannot serialise an empty list of videos.
        super().__init__(data_root=data_root, indices=indices, serialize_data=False)

    @abstractmethod
    def load_videos(self) -> list[dict]:
        """One record per video, in fixed order: ``video_id`` (unique, may contain ``/``), ``frame_paths`` (all of
        them, in order) and whatever :meth:`load_labels` needs.

        Raises:
            FileNotFoundError: naming what is missing, the expected layout and the fix.
        """

    @abstractmethod
    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        """The fields and the further metainfo of the data sample of one video.

        Args:
            video: a record of :meth:`load_videos`; of its ``frame_paths`` ``max_frames`` are left.
            frames: its frames.
        """

    def open_frames(self, video: dict) -> FrameSequence:
        """The frames of a record of :meth:`load_videos`, of whose ``frame_paths`` ``max_frames`` are left."""
        return FrameSequence(video['frame_paths'], name=video['video_id'])

    def lack(self, video: dict) -> str | None:
        """Why nothing of a video could be scored; ``None`` if it can, or if its truth is not public."""
        return None

    def load_data_list(self) -> list[dict]:
        """The records of :meth:`load_videos`, their ``frame_paths`` cut to ``max_frames``."""
        videos = self.load_videos()
        video_ids = [video['video_id'] for video in videos]
        if not videos:
            raise InputError(f'{self.title}: no video in {self.data_root}. Check data_root and the list of videos.')
        for video_id in video_ids:
            check_name(video_id, f'{self.title} in {self.data_root}')
        if len(set(video_ids)) < len(videos):
            twice = sorted({video_id for video_id in video_ids if video_ids.count(video_id) > 1})
            raise InputError(f'{self.title}: listed more than once: {", ".join(twice)}. List each video once.')
        return [dict(video, frame_paths=video['frame_paths'][: self.max_frames]) for video in videos]

    def full_init(self) -> None:
        """Loads the list of videos, applies ``indices`` and ``skip``, checks and logs what is left."""
        if self._fully_initialized:
            return
        super().full_init()
        chosen = self.data_list
        self.data_list = [video for video in chosen if video['video_id'] not in self.skip]
        MMLogger.get_current_instance().info(
            '%s: %d videos, %d frames%s (%s)',
            self.title,
            len(self),
            sum(map(self.num_frames, range(len(self)))),
            f', {len(chosen) - len(self)} left out' if self.skip else '',
            self.data_root,
        )
        lacks = {video['video_id']: self.lack(video) for video in self.data_list}
        if reasons := {video_id: lack for video_id, lack in lacks.items() if lack is not None}:
            raise UnscorableVideos(self.title, reasons)

    def num_frames(self, index: int) -> int:
        """Frames of video ``index``, without reading any."""
        return len(self.data_list[index]['frame_paths'])

    def __getitem__(self, index: int) -> dict:
        # Not by get_data_info, which would copy frames that are in memory.
        video = self.data_list[range(len(self))[index]]
        frames = self.open_frames(video)
        fields, metainfo = self.load_labels(video, frames)
        metainfo = dict(
            video_id=video['video_id'],
            frame_names=frames.names,
            original_size=frames.original_size,
            max_frames=self.max_frames,
            **metainfo,
        )
        return dict(inputs=frames, data_samples=BaseDataElement(metainfo=metainfo, **fields))


def check_mask_size(mask: np.ndarray, mask_path: str, frames: FrameSequence, index: int = 0) -> None:
    """Refuse a mask ``[H, W]`` that does not fit frame ``index``."""
    if mask.shape != frames.original_size:
        raise InputError(
            f'Mask {mask_path} is {mask.shape[0]}x{mask.shape[1]} (height x width), its frame {frames.path(index)} is '
            f'{frames.original_size[0]}x{frames.original_size[1]}. Take both from the same release and resolution.'
        )
