"""The colour map of DAVIS and Pascal VOC masks, and colours of ids that can be seen on any picture."""

from functools import lru_cache

import numpy as np


def voc_palette() -> np.ndarray:
    """Colours whose bits are the bits of the id, spread over red, green and blue from the high bit down.

    Returns:
        uint8 ``[256, 3]``, RGB; entry 0 is black.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = ids >> (3 * level + channel) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return palette


@lru_cache
def display_colors() -> np.ndarray:
    """Colours to draw ids in: those of :func:`voc_palette` where they are vivid, else others far from all in use.

    A quarter of that palette is nearly black, grey or white, among them 7, 8 and 255, the id of a mask of 0 and 255.

    Returns:
        uint8 ``[256, 3]``, RGB, read-only; entry 0, the background, is black.
    """
    colors = voc_palette().astype(int)
    vivid = _chroma(colors) >= 96
    levels = np.linspace(0, 255, 12).round().astype(int)
    candidates = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    candidates = candidates[_chroma(candidates) >= 128]
    distance = ((candidates[:, None] - colors[vivid]) ** 2).sum(-1).min(1)
    for number in [255, *np.flatnonzero(~vivid[:255])[1:]]:
        colors[number] = candidates[distance.argmax()]
        distance = np.minimum(distance, ((candidates - colors[number]) ** 2).sum(-1))
    shown = colors.astype(np.uint8)
    shown.setflags(write=False)
    return shown


def _chroma(colors: np.ndarray) -> np.ndarray:
    return colors.max(-1) - colors.min(-1)
