"""Masks of object ids as files: palette PNGs, as DAVIS and YouTube-VOS keep them."""

from pathlib import Path

import numpy as np
from PIL import Image

from stt_mm.errors import InputError, writing
from stt_mm.utils.mask_files import as_ids, load_mask
from stt_mm.utils.palette import voc_palette

VOID = 255


def read_mask(path: str | Path) -> np.ndarray:
    """Object ids as the file stores them, whatever its colours; see :func:`stt_mm.utils.mask_files.load_mask`.

    Returns:
        uint8 ``[H, W]``; a 1-bit file gives 0 and 1.
    """
    return load_mask(path)[0]


def read_object_ids(path: str | Path, single_object: bool = False) -> np.ndarray:
    """A ground truth mask as DAVIS means it.

    Args:
        path: see :func:`read_mask`.
        single_object: every non-zero pixel is object 1 (DAVIS-2016, whose files hold 0 and 255). Otherwise 255 is
            void and becomes background.

    Returns:
        uint8 ``[H, W]``, 0 is background.
    """
    mask = read_mask(path)
    if single_object:
        return (mask > 0).astype(np.uint8)
    mask[mask == VOID] = 0
    return mask


def lack_of_objects(path: str | Path, single_object: bool = False) -> str | None:
    """Why a first mask gives nothing to carry, or ``None``; the arguments are those of :func:`read_object_ids`."""
    if read_object_ids(path, single_object).any():
        return None
    void = ', as 255 is void where objects have numbers. Write the object as 1' if read_mask(path).any() else ''
    return f'the first mask, {path}, shows no object{void}'


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Writes ids as an indexed PNG with the DAVIS palette; missing parent folders are made.

    Args:
        path: ends with ``.png``.
        mask: ``[H, W]`` integers or booleans, 0 to 255.
    """
    path, mask = Path(path), np.asarray(mask)
    if path.suffix.lower() != '.png':
        raise InputError(f'Masks are written as PNG, which keeps ids exactly; got {path}.')
    mask = as_ids(mask, f'Mask for {path}')
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link, symbolic or hard, makes way; what it leads to stays as it is.
        path.unlink(missing_ok=True)
    image = Image.fromarray(np.ascontiguousarray(mask)).convert('P')
    # The conversion from grey keeps the values as indices; only the colours behind them change.
    image.putpalette(voc_palette().tobytes())
    with writing(path):
        image.save(path)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest by pixel centres, as Pillow does; OpenCV's ``INTER_NEAREST`` takes other pixels.

    Args:
        mask: uint8 ``[H, W]``.
        size: (height, width).

    Returns:
        uint8 ``[height, width]``; no new ids appear.
    """
    height, width = size
    return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
