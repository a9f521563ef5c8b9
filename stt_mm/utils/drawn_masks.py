"""Masks as people draw them: what cannot be told from the ids alone is refused, never guessed."""

import logging

import cv2
import numpy as np
from PIL import Image

from stt_mm.errors import InputError
from stt_mm.utils.masks import VOID, voc_palette

logger = logging.getLogger(__name__)

_BLOCK = np.ones((3, 3), np.uint8)
# Clean masks have 0.03 of their edges in rims, more only where these are few pixels; smoothed ones 0.08 to 0.9.
_SMOOTH_SHARE, _SMOOTH_PIXELS = 0.07, 65
_PIECES = 5  # Of clean masks all thin ids that lie between others have 4 pieces at most, smoothed edges have 5 to 100.
_RIM_DEPTH, _RIM_PIXELS = (
    4,
    30,
)  # Pixels; a wall around a cavity may be so thin, as may an edge that was smoothed widely.
_SPECK_SHARE, _SPECK_PIXELS = 0.95, 8  # What a JPEG leaves beside an area are a few pixels each.
_BLACK = 15  # The brightest that still counts as black.
_GRID_SHARE, _COARSE_SHARE = 0.12, 0.9  # Of all corners of areas 1 in 64 lies on the grid by chance.
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
    solid, ids = _solid(mask), used[used > 0]
    faults = [_soft(mask, level, solid, ids) for level in levels] + [_worn(mask, solid, ids)]
    if any(faults):
        raise InputError(
            f'{where} has smoothed edges, as a soft brush, a JPEG or a resize with interpolation leaves them: '
            f'{next(filter(None, faults))}. Draw with hard edges, or save the ids before they are smoothed; '
            f'{_ONE_OBJECT}. If all of them are ids, write them by stt_mm.utils.write_mask and give that file.'
        )
    if rims := _between(mask, ids):
        logger.warning(
            '%s: id %s lies as a thin rim between higher and lower ids. If that is no object but an edge that was '
            'smoothed, draw with hard edges.',
            *(where, ', '.join(map(str, rims))),
        )


def drop_void(mask: np.ndarray, where: str) -> np.ndarray:
    """The mask with 255 beside other ids, a border that belongs to no object, as background, which is logged.

    So are whole rows and columns of it at the edges of the picture. A mask of 255 alone is one object and stays.

    Raises:
        ValueError: 255 is more, or less, than borders of the other objects, so that an object may be meant: it lies
            apart, is thick, covers more than what it borders, or runs along less than half of its outline.
    """
    void, ids = mask == VOID, (mask > 0) & (mask < VOID)
    if not void.any() or not ids.any():
        return mask
    deepest = max(5, 0.02 * min(mask.shape))
    inner = void & ~_frame(void, deepest)
    depth = _depth(np.pad(inner, 1))
    count, parts = _pieces(ids | inner)
    swallows = np.bincount(parts[inner], minlength=count + 1) > np.bincount(parts[ids], minlength=count + 1)
    if depth > deepest or swallows.any() or not _is_border(inner, ids, parts):
        raise InputError(
            f'{where}: 255 beside other ids is void, but its {int(inner.sum())} pixels are no border around the '
            f'other objects ({int(ids.sum())} pixels). If it is an object, give it an id of 1 to 254; if it is '
            'void, set it to 0.'
        )
    logger.warning('%s: 255 beside other ids is void: %d pixels become background.', where, void.sum())
    return np.where(void, 0, mask).astype(np.uint8)


def _frame(void: np.ndarray, deepest: float) -> np.ndarray:
    """Whole rows and columns of void at the edges of the picture, as padding leaves them."""
    found = np.zeros_like(void)
    for turn in range(4):
        rows = np.rot90(void, turn).all(1)
        count = int(rows.argmin()) if not rows.all() else 0
        if count <= deepest:
            np.rot90(found, turn)[:count] = True
    return found


def _is_border(void: np.ndarray, ids: np.ndarray, parts: np.ndarray) -> bool:
    """Whether void lies around whatever it touches, along half of the outline at least."""
    for number in np.unique(parts[void]):
        part = ids & (parts == number)
        outline = cv2.dilate(part.astype(np.uint8), _BLOCK).astype(bool) & ~part
        if 2 * np.count_nonzero(outline & void) < np.count_nonzero(outline):
            return False
    return True


def _check_palette(palette: np.ndarray, used: np.ndarray, where: str) -> None:
    """The background is about black, or white where nothing is black; else a program numbered the colours itself."""
    first = palette[0]
    black, white = ((palette[used] == tone).all(1).any() for tone in (0, 255))
    if first.any() and (black or (first > _BLACK).any() and (first < 255 - _BLACK).any()):
        also = ' and another id black' if black else ' and another id white' if white else ''
        raise InputError(
            f'{where} is indexed, but its palette gives id 0, the background, the colour {first.tolist()}{also}, so a '
            'program numbered its colours. Save ids instead of colours, for example by stt_mm.utils.write_mask.'
        )


def _solid(mask: np.ndarray) -> np.ndarray:
    """Where a pixel belongs to a block of 3 x 3 pixels of one id, as all do but rims and the corners of areas."""
    return cv2.dilate((cv2.erode(mask, _BLOCK) == cv2.dilate(mask, _BLOCK)).astype(np.uint8), _BLOCK) > 0


def _soft(mask: np.ndarray, level: np.ndarray, solid: np.ndarray, ids: np.ndarray) -> str:
    """What shows that edges are ramps: rims that are brighter on one side and darker on the other; else nothing."""
    edges = np.count_nonzero(cv2.erode(mask, _BLOCK) != cv2.dilate(mask, _BLOCK))
    rims = ~solid & (cv2.erode(level, _BLOCK) < level) & (level < cv2.dilate(level, _BLOCK))
    total, firm, between = _counts(mask), _counts(mask[solid]), _counts(mask[rims])
    thin = [number for number in ids if 3 * firm[number] < total[number] < 2 * between[number]]
    # A thin object is one piece or a few, of which none lies between others by chance.
    broken = 4 * len(thin) >= len(ids) and sum(_pieces(mask == number)[0] for number in thin) >= _PIECES
    if broken or rims.sum() > max(_SMOOTH_SHARE * edges, _SMOOTH_PIXELS):
        return f'of its {len(ids)} ids {len(thin)} are only rims between others'
    return ''


def _between(mask: np.ndarray, ids: np.ndarray) -> list[int]:
    """Ids that may be ramps of edges, so wide that they hold areas: thin ones that keep higher ones from lower ones."""
    padded, found = np.pad(mask, 1), []
    for number in ids[:-1]:
        left, top, width, height = cv2.boundingRect((mask == number).astype(np.uint8))
        part = padded[top : top + height + 2, left : left + width + 2]
        area = (part == number).astype(np.uint8)
        near = cv2.dilate(area, _BLOCK) > 0
        touching, below = np.count_nonzero(near & (part > number)), np.count_nonzero(near & (part < number))
        if touching < _RIM_PIXELS or 2 * below <= touching or _depth(area) > _RIM_DEPTH:
            continue
        low, high = (mask < number).astype(np.uint8), mask > number
        if 10 * np.count_nonzero(high & (cv2.dilate(low, _BLOCK) > 0)) < touching:
            found.append(int(number))
    return found


def _worn(mask: np.ndarray, solid: np.ndarray, ids: np.ndarray) -> str:
    """What shows that ids went through a JPEG: specks of one more or one less than an id, or the blocks it works in."""
    total, firm = _counts(mask), _counts(mask[solid])
    large = set(ids[2 * firm[ids] >= total[ids]].tolist())
    # In a picture full of areas small pieces lie beside each other by nature.
    for number in sorted(set(ids.tolist()) - large) if 4 * total[0] >= mask.size else ():
        count, pieces = _pieces(mask == number)
        beside = np.isin(mask, list(large & {number - 1, number + 1})).astype(np.uint8)
        touching = len(set(np.unique(pieces[cv2.dilate(beside, _BLOCK) > 0]).tolist()) - {0})
        if count > 2 and touching > _SPECK_SHARE * count and total[number] <= _SPECK_PIXELS * count:
            return f'its id {number} is only {count} specks beside {number - 1} or {number + 1}'
    corners = np.argwhere(_corners(mask))
    on_grid = np.count_nonzero((corners % 8 == 7).all(1))
    # In a coarse mask that was enlarged by an even factor nearly all corners lie on even places.
    coarse = np.count_nonzero((corners % 2 == 1).all(1)) > _COARSE_SHARE * len(corners)
    if not coarse and on_grid >= max(10, _GRID_SHARE * len(corners), 5 * _pieces(mask > 0)[0]):
        return f'of the {len(corners)} corners of its areas {on_grid} lie on the blocks of 8 x 8 pixels of a JPEG'
    return ''


def _corners(mask: np.ndarray) -> np.ndarray:
    """Whether an edge between ids bends between a pixel, the next to the right, and the two below."""
    top, bottom = mask[:-1, :-1] == mask[:-1, 1:], mask[1:, :-1] == mask[1:, 1:]
    left, right = mask[:-1, :-1] == mask[1:, :-1], mask[:-1, 1:] == mask[1:, 1:]
    return ~(top & bottom | left & right)


def _pieces(area: np.ndarray) -> tuple[int, np.ndarray]:
    """How many connected parts an area has, and the number of each pixel's part, from 1."""
    count, pieces = cv2.connectedComponents(area.astype(np.uint8), connectivity=8)
    return count - 1, pieces


def _depth(area: np.ndarray) -> float:
    """How far the innermost pixel of an area is from its outside."""
    return float(cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, 3).max())


def _counts(values: np.ndarray) -> np.ndarray:
    """How often each of 0 to 255 occurs; NumPy's own count would need 8 bytes for each pixel."""
    return np.array(Image.fromarray(np.atleast_2d(values)).histogram() if values.size else [0] * 256)
