"""What all datasets of training clips share: which frames, which random numbers, what happens to broken files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger

from stt_mm.errors import InputError
from stt_mm.registry import TRANSFORMS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.images import FrameError
from stt_mm.utils.random import generator

_MAX_TRIES = 20


class VideoDataset(BaseDataset, ABC):
    """Clips of unlabelled videos. Subclasses say which videos there are, in :meth:`load_videos`.

    An item is asked for by ``(index, draw, seed)``, as :class:`TrainSampler` yields it: video ``index``, in the
    ``draw``-th draw of the whole training, whose seed is ``seed``. All randomness of the item comes from these three,
    so it depends neither on the number of workers nor on interruptions. A plain ``index`` means draw 0 and seed 0,
    which is the same clip each time.

    Args:
        data_root: folder of the data.
        pipeline: transforms as configs or callables. The first receives ``video_id``, ``frame_paths`` or
            ``video_path`` and ``num_frames``, ``frame_inds`` (T rising ints), ``sample_idx``, ``draw`` and ``rng``, the
            ``numpy.random.Generator`` to take every random number from.
        clip_length: frames per clip, 1 or more. The first is the reference, the last the target.
        interval: steps in the list of frames between two frames of a clip. Of several, one is chosen per clip among
            those that fit the video.
        interval_probs: weights of the intervals, not negative; ``None`` for equal ones.
        on_error: ``'raise'`` stops at a file that is missing or broken. ``'skip'`` logs it, counts it in
            ``num_skipped`` (per process) and takes another video.
        indices: use the first (negative: last) n videos, or the listed ones; ``None`` for all.
    """

    LAYOUT = '<data_root>/<video>/<frame>.jpg'

    def __init__(
        self,
        data_root: str,
        pipeline: Sequence[dict | Callable] = (),
        clip_length: int = 2,
        interval: int | Sequence[int] = 1,
        interval_probs: Sequence[float] | None = None,
        on_error: Literal['raise', 'skip'] = 'raise',
        indices: int | Sequence[int] | None = None,
    ) -> None:
        intervals = (interval,) if isinstance(interval, int) else tuple(interval)
        weights = (1.0,) * len(intervals) if interval_probs is None else tuple(interval_probs)
        if clip_length < 1 or not intervals or min(intervals) < 1:
            raise InputError(f'clip_length and interval must be 1 or more, got {clip_length} and {interval}.')
        if len(weights) != len(intervals) or min(weights) < 0 or sum(weights) <= 0:
            raise InputError(
                f'interval_probs must hold one weight of at least 0 for each of {len(intervals)} intervals, and not '
                f'only zeros, got {interval_probs}.'
            )
        check_choice('on_error', on_error, ('raise', 'skip'))
        self.clip_length = clip_length
        self.intervals = [(step, weight) for step, weight in zip(intervals, weights, strict=True) if weight > 0]
        self.on_error = on_error
        self.num_skipped = 0
        self._plain_indices: set[int] | None = set()
        transforms = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        super().__init__(data_root=data_root, pipeline=transforms, indices=indices)

    @abstractmethod
    def load_videos(self) -> list[dict]:
        """One ``dict(video_id, frame_paths)`` or ``dict(video_id, video_path, num_frames)`` per video, in fixed order.

        Beside ``video_path`` a ``frame_index`` (:class:`stt_mm.utils.video_file.FrameIndex`) spares each reader the
        search for the frames.

        Raises:
            FileNotFoundError: naming the missing folder, the expected layout and the fix.
        """

    def load_data_list(self) -> list[dict]:
        """The videos that hold at least one clip; logs how many there are and how many do not."""
        videos = self.load_videos()
        min_frames = self._span(min(step for step, _ in self.intervals))
        kept = [video for video in videos if _num_frames(video) >= min_frames]
        name = type(self).__name__
        if not videos:
            raise InputError(f'{name}: {self.data_root} holds no video. Expected {self.LAYOUT}. Check data_root.')
        if not kept:
            raise InputError(
                f'{name}: none of {len(videos)} videos in {self.data_root} has the {min_frames} frames of a clip. '
                f'Expected {self.LAYOUT}. Check data_root, or lower clip_length or interval.'
            )
        MMLogger.get_current_instance().info(
            '%s: %d videos, %d skipped with fewer than %d frames (%s)',
            name,
            len(kept),
            len(videos) - len(kept),
            min_frames,
            self.data_root,
        )
        return kept

    def get_clip(self, index: int, draw: int = 0, seed: int = 0) -> dict:
        """What the first transform receives for ``(index, draw, seed)``; the frames are chosen, nothing is read."""
        return self._choose_clip(index, generator(seed, draw, index))

    def __getitem__(self, key: int | tuple[int, int] | tuple[int, int, int]) -> dict:
        index, draw, seed = (*key, 0)[:3] if isinstance(key, tuple) else (self._warn_repeated(key), 0, 0)
        index = range(len(self))[index]
        rng = generator(seed, draw, index)
        for _ in range(_MAX_TRIES):
            clip = self._choose_clip(index, rng)
            try:
                return self.pipeline(clip)
            except OSError as error:
                if self.on_error == 'raise':
                    raise
                self._log_skipped(clip['video_id'], error)
                index = int(rng.integers(len(self)))
        raise FrameError(
            f'{type(self).__name__}: {_MAX_TRIES} videos drawn in a row from {self.data_root} could not be read; the '
            "warnings above name them. Repair the data, or set on_error='raise' to stop at the first."
        )

    def _choose_clip(self, index: int, rng: np.random.Generator) -> dict:
        clip = self.get_data_info(index)
        num_frames = _num_frames(clip)
        fitting = [(step, weight) for step, weight in self.intervals if self._span(step) <= num_frames]
        total = sum(weight for _, weight in fitting)
        step = fitting[rng.choice(len(fitting), p=[weight / total for _, weight in fitting])][0]
        offset = int(rng.integers(num_frames - self._span(step) + 1))
        frame_inds = [offset + step * k for k in range(self.clip_length)]
        return dict(clip, frame_inds=frame_inds, rng=rng)

    def _span(self, step: int) -> int:
        return (self.clip_length - 1) * step + 1

    def _log_skipped(self, video_id: str, reason: object) -> None:
        self.num_skipped += 1
        MMLogger.get_current_instance().warning(
            '%s: video %s skipped (%d so far in this process): %s',
            type(self).__name__,
            video_id,
            self.num_skipped,
            reason,
        )

    def _warn_repeated(self, index: int) -> int:
        """Samplers that yield plain indices would train on the very same clip in each epoch: say so, once."""
        if self._plain_indices is not None:
            if index in self._plain_indices:
                MMLogger.get_current_instance().warning(
                    '%s is asked for video %d again without a draw number and gives the same clip again. For training '
                    "use sampler=dict(type='TrainSampler').",
                    type(self).__name__,
                    index,
                )
                self._plain_indices = None
            else:
                self._plain_indices.add(index)
        return index


def _num_frames(video: dict) -> int:
    return len(video['frame_paths']) if 'frame_paths' in video else video['num_frames']
