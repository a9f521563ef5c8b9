"""Frames at another size."""

from typing import Literal

import cv2
import numpy as np
from PIL import Image

Resize = Literal['bilinear', 'bicubic']


def resize_frame(image: np.ndarray, size: tuple[int, int], rule: Resize = 'bilinear') -> np.ndarray:
    """A frame at the size of a network's input; itself where it has that size.

    Args:
        image: uint8 ``[H, W, 3]``.
        size: ``(height, width)``.
        rule: ``bilinear``: OpenCV's, which does not smooth; ``bicubic``: Pillow's, which smooths where it makes
            smaller, and rounds and clips to 8 bits.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if rule == 'bilinear':
        return cv2.resize(image, (width, height))
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
