"""Masks as people draw them: what cannot be told from the ids alone is refused, never guessed."""

import logging

import cv2
import numpy as np
from PIL import Image

from ..errors import InputError
from .masks import VOID
from .palette import voc_palette

logger = logging.getLogger(__name__)

_BLOCK = np.ones((3, 3), np.uint8)
_SMOOTH_SHARE = 0.07  # Clean masks: 0.03 at most, 0.05 in pictures of 60 x 80 pixels. Smoothed ones: 0.08 to 0.9.
_ONE_OBJECT = 'PIL.Image.open(path).convert("L").point(lambda v: 255 * (v > 127)) makes one object of it'


def made_for_ids(mask: np.ndarray, palette: np.ndarray | None) -> bool:
    """Whether the ids of a file, uint8 ``[H, W]``, have the colours of DAVIS, a palette that is for ids alone."""
    used = np.flatnonzero(_counts(mask))
    return palette is not None and np.array_equal(palette[used], voc_palette()[used])


def check_drawn(mask: np.ndarray, palette: np.ndarray | None, where: str) -> None:
    """Refuses a mask whose values were not meant as ids.

    Args:
        mask: uint8 ``[H, W]``, as stored.
        palette: the colours of an indexed file, uint8 ``[256, 3]``. A mask that is :func:`made_for_ids` passes, which
            is how one that is refused wrongly can be given.
        where: begins the message.

    Raises:
        ValueError: a palette that calls another id than 0 the background, or smoothed edges.
    """
    if made_for_ids(mask, palette):
        return
    used, levels = np.flatnonzero(_counts(mask)), [mask]
    if palette is not None:
        _check_palette(palette, used, where)
        levels += [palette[:, channel][mask] for channel in range(3)]
    share, rims = max(_smoothness(mask, level) for level in levels)
    ids = used[used > 0]
    ghosts = 3 * rims >= len(ids) and (rims > 2 or rims and ids[-1] > len(ids))
    if share > _SMOOTH_SHARE or ghosts:
        raise InputError(
            f'{where} has smoothed edges, as a soft brush, a JPEG or a resize with interpolation leaves them: of its '
            f'{len(ids)} ids {rims} are only rims between others. Draw with hard edges, or save the ids before they '
            f'are smoothed; {_ONE_OBJECT}.')


def drop_void(mask: np.ndarray, where: str) -> np.ndarray:
    """The mask with 255 beside other ids, a border that belongs to no object, as background, which is logged.

    A mask of 255 alone is one object and stays.

    Raises:
        ValueError: 255 is more than borders of the other objects, so that an object may be meant.
    """
    void, ids = mask == VOID, (mask > 0) & (mask < VOID)
    if not void.any() or not ids.any():
        return mask
    depth = cv2.distanceTransform(np.pad(void, 1).astype(np.uint8), cv2.DIST_L2, 3).max()
    count, parts = cv2.connectedComponents(void.astype(np.uint8), connectivity=8)
    beside = np.unique(parts[cv2.dilate(ids.astype(np.uint8), _BLOCK) > 0])
    if depth > max(5, 0.02 * min(mask.shape)) or len(set(beside.tolist()) - {0}) < count - 1:
        raise InputError(
            f'{where}: 255 beside other ids is void, but its {int(void.sum())} pixels are more than a border of the '
            f'other objects ({int(ids.sum())} pixels). If it is an object, give it an id of 1 to 254; if it is '
            'void, set it to 0.')
    logger.warning('%s: 255 beside other ids is void: %d pixels become background.', where, void.sum())
    return np.where(void, 0, mask).astype(np.uint8)


def _check_palette(palette: np.ndarray, used: np.ndarray, where: str) -> None:
    """The background is black, or white where nothing is black; else a program numbered the colours as it liked."""
    first, others = palette[0], palette[used[used > 0]]
    black, white = ((others == tone).all(1).any() for tone in (0, 255))
    if first.any() and (black or (first < 255).any()):
        also = ' and another id black' if black else ' and another id white' if white else ''
        raise InputError(
            f'{where} is indexed, but its palette gives id 0, the background, the colour {first.tolist()}{also}, so a '
            'program numbered its colours. Save ids instead of colours, for example by stt_mm.utils.write_mask.')


def _smoothness(mask: np.ndarray, level: np.ndarray) -> tuple[float, int]:
    """How much of the edges is rims between darker and brighter pixels, and how many ids are nothing else.

    A rim belongs to no block of 3 x 3 pixels of one id. The corners of areas do not either, a few percent of an edge.
    """
    edges = cv2.erode(mask, _BLOCK) != cv2.dilate(mask, _BLOCK)
    solid = cv2.dilate((~edges).astype(np.uint8), _BLOCK) > 0
    rims = ~solid & (cv2.erode(level, _BLOCK) < level) & (level < cv2.dilate(level, _BLOCK))
    total, firm, between = _counts(mask), _counts(mask[solid]), _counts(mask[rims])
    return rims.sum() / max(edges.sum(), 1), int(((total > 0) & (firm == 0) & (2 * between >= total)).sum())


def _counts(values: np.ndarray) -> np.ndarray:
    """How often each of 0 to 255 occurs; NumPy's own count would need 8 bytes for each pixel."""
    return np.array(Image.fromarray(np.atleast_2d(values)).histogram() if values.size else [0] * 256)
