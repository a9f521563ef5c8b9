"""Single images for the transforms of other libraries."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from stt_mm.datasets.transforms.clips import LoadFrames
from stt_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(LoadFrames):
    """Decodes the first frame of a clip as the image that mmcv's and mmpretrain's transforms work on.

    Unlike their own loader it refuses a file that is cut off, of which OpenCV would make a half-grey picture.

    Required Keys:

    - video_id (str)
    - frame_inds (list[int]): the first one counts
    - frame_paths (list[str]), or video_path (str) and num_frames (int)

    Added Keys:

    - img (np.ndarray): uint8 ``[H, W, 3]``, BGR as those libraries expect it
    - img_path (str)
    - img_shape, ori_shape (tuple[int, int]): (height, width)
    """

    def transform(self, results: dict) -> dict:
        """Raises ``FileNotFoundError`` or ``FrameError``, which name the file."""
        first = results['frame_inds'][0]
        frames = super().transform(dict(results, frame_inds=[first]))['frames']
        image = np.ascontiguousarray(frames[0][:, :, ::-1])
        results['img'] = image
        results['img_path'] = results['frame_paths'][first] if 'frame_paths' in results else results['video_path']
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class SeededCompose(BaseTransform):
    """Runs transforms that draw from the global generators, with numbers that come from the item's own generator.

    Transforms of mmcv, mmpretrain and torchvision take their random numbers from ``random``, ``numpy.random`` and
    ``torch``. Inside, these are seeded from ``rng``; afterwards they are as they were. An item then depends on
    ``(index, draw, seed)`` alone, so that a resumed training sees the views of one that was not stopped.

    Required Keys:

    - rng (np.random.Generator)
    - what the transforms need

    Args:
        transforms: transforms as configs or callables, run one after another.
    """

    def __init__(self, transforms: Sequence[dict | Callable]) -> None:
        self.transforms = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in transforms]

    def transform(self, results: dict) -> dict | None:
        """What the last transform returns; ``None`` as soon as one returns that."""
        with _seeded(results['rng']):
            for step in self.transforms:
                results = step(results)
                if results is None:
                    return None
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """The global CPU generators start from numbers of ``rng`` and get their own state back."""
    python, legacy, state = random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.default_generator.set_state(state)
