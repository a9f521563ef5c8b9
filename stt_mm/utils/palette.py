"""The colour map of DAVIS and Pascal VOC masks."""

import numpy as np

from stt_mm.errors import InputError


def voc_palette(num_colors: int = 256) -> np.ndarray:
    """Colours whose bits are the bits of the id, spread over red, green and blue from the high bit down.

    Args:
        num_colors: 1 to 256.

    Returns:
        uint8 ``[num_colors, 3]``, RGB; entry 0 is black.
    """
    if not 1 <= num_colors <= 256:
        raise InputError(f'A palette has 1 to 256 colours, got num_colors={num_colors}.')
    ids = np.arange(num_colors)
    palette = np.zeros((num_colors, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = ids >> (3 * level + channel) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return palette
