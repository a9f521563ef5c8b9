"""Colour jitter that works with any NumPy."""

import warnings

import numpy as np
from PIL import Image, ImageEnhance

from stt_mm.errors import library_errors
from stt_mm.registry import TRANSFORMS

with warnings.catch_warnings():
    # mmcv-lite warns about a compiled operator that nothing here uses.
    warnings.filterwarnings('ignore', message='Fail to import')
    from mmpretrain.datasets.transforms import ColorJitter as _ColorJitter

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_HUE = 3


@TRANSFORMS.register_module()
class ColorJitter(_ColorJitter):
    """mmpretrain's ColorJitter: random brightness, contrast, saturation and hue, in random order, by Pillow.

    The same numbers and pixels, but negative shifts of the hue work: mmcv 2.2 computes them by an overflow of uint8
    that NumPy 2 refuses with an ``OverflowError``. The image also stays one of Pillow's from first to last.

    Required Keys:

    - img (np.ndarray): uint8 ``[H, W, 3]``, BGR

    Modified Keys:

    - img

    Args:
        brightness, contrast, saturation: a number v for factors from max(0, 1 - v) to 1 + v, or (smallest, largest).
        hue: a number v for shifts from -v to v, or (smallest, largest), within -0.5..0.5; 1 is the whole circle.
    """

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0.0,
        contrast: float | tuple[float, float] = 0.0,
        saturation: float | tuple[float, float] = 0.0,
        hue: float | tuple[float, float] = 0.0,
    ) -> None:
        with library_errors('ColorJitter cannot be built'):
            super().__init__(brightness, contrast, saturation, hue, backend='pillow')

    def transform(self, results: dict) -> dict:
        order, *factors = self._rand_params()
        image = Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1]))
        for index in order:
            factor = factors[index]
            if factor is None:
                continue
            image = _shift_hue(image, factor) if index == _HUE else _ENHANCERS[index](image).enhance(factor)
        results['img'] = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        return results


def _shift_hue(image: Image.Image, shift: float) -> Image.Image:
    """Hue, which Pillow stores in 0..255, moves by ``shift`` times 255, rounded towards 0, around the circle."""
    hue, saturation, value = image.convert('HSV').split()
    moved = (np.asarray(hue).astype(np.int16) + int(shift * 255)) % 256
    return Image.merge('HSV', (Image.fromarray(moved.astype(np.uint8)), saturation, value)).convert('RGB')
