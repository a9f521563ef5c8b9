"""Geometry of clips: one draw moves all frames alike."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from stt_mm.errors import InputError
from stt_mm.registry import TRANSFORMS

_ATTEMPTS = 20


@TRANSFORMS.register_module()
class ClipResize(BaseTransform):
    """Resizes all frames to one size (bilinear, in uint8); the aspect ratio is not kept.

    Required Keys:

    - frames

    Modified Keys:

    - frames (list[np.ndarray]): T times uint8 ``[height, width, 3]``

    Args:
        size: (height, width) in pixels.
    """

    def __init__(self, size: tuple[int, int] = (256, 256)) -> None:
        if len(size) != 2 or min(size) < 1:
            raise InputError(f'size must be (height, width) of at least 1 pixel, got {size}.')
        self.size = tuple(size)

    def transform(self, results: dict) -> dict:
        height, width = self.size
        results['frames'] = [cv2.resize(frame, (width, height)) for frame in results['frames']]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'


@TRANSFORMS.register_module()
class ClipRandomResizedCrop(ClipResize):
    """Cuts one random box out of all frames and resizes it.

    A box that does not fit the frame is drawn again; after 20 boxes the centred square of the short side is
    taken. With the default ranges no box fits a portrait frame of 9:16, so that these always give the square.

    Required Keys:

    - frames
    - rng (np.random.Generator)

    Modified Keys:

    - frames (list[np.ndarray]): T times uint8 ``[height, width, 3]``

    Added Keys:

    - crop (tuple[int, int, int, int]): top, left, height, width of the box in the frames that came in

    Args:
        size: (height, width) of the result in pixels.
        area: smallest and largest part of the frame's area, within 0..1; uniform.
        aspect: smallest and largest width divided by height; uniform in the logarithm.
    """

    def __init__(
        self,
        size: tuple[int, int] = (256, 256),
        area: tuple[float, float] = (0.6, 1.0),
        aspect: tuple[float, float] = (1.5, 2.0),
    ) -> None:
        super().__init__(size)
        if not 0 < area[0] <= area[1] <= 1:
            raise InputError(f'area must be (smallest, largest) within 0..1, got {area}.')
        if not 0 < aspect[0] <= aspect[1]:
            raise InputError(f'aspect must be (smallest, largest) above 0, got {aspect}.')
        self.area = tuple(area)
        self.aspect = tuple(aspect)

    def draw_box(self, frame_size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width of a box within a frame of ``frame_size`` (height, width)."""
        frame_height, frame_width = frame_size
        for _ in range(_ATTEMPTS):
            area = rng.uniform(*self.area) * frame_height * frame_width
            aspect = np.exp(rng.uniform(*np.log(self.aspect)))
            height, width = round(np.sqrt(area / aspect)), round(np.sqrt(area * aspect))
            if 1 <= height <= frame_height and 1 <= width <= frame_width:
                top, left = rng.integers(frame_height - height + 1), rng.integers(frame_width - width + 1)
                return int(top), int(left), int(height), int(width)
        side = min(frame_size)
        return (frame_height - side) // 2, (frame_width - side) // 2, side, side

    def transform(self, results: dict) -> dict:
        top, left, height, width = self.draw_box(results['frames'][0].shape[:2], results['rng'])
        results['crop'] = (top, left, height, width)
        results['frames'] = [frame[top : top + height, left : left + width] for frame in results['frames']]
        return super().transform(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, area={self.area}, aspect={self.aspect})'


@TRANSFORMS.register_module()
class ClipFlip(BaseTransform):
    """Mirrors all frames left to right, or none.

    Required Keys:

    - frames
    - rng (np.random.Generator)

    Modified Keys:

    - frames

    Added Keys:

    - flip (bool): whether they were mirrored

    Args:
        prob: probability of mirroring, 0 to 1.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise InputError(f'prob must be 0 to 1, got {prob}.')
        self.prob = prob

    def transform(self, results: dict) -> dict:
        results['flip'] = bool(results['rng'].random() < self.prob)
        if results['flip']:
            results['frames'] = [np.ascontiguousarray(frame[:, ::-1]) for frame in results['frames']]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
