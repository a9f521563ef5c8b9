"""Masks of object ids as files, in the forms in which people keep them, and the colours that they are shown in."""

import io
import re
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PpmImagePlugin import PpmImageFile

from stt_mm.errors import InputError, MissingInputError, writing
from stt_mm.utils.images import JPEG, PNG, ImageFault, guarded, open_image
from stt_mm.utils.text import without_mark


def voc_palette() -> np.ndarray:
    """Colours, uint8 ``[256, 3]`` RGB, whose bits are those of the id, spread over the channels from the high one."""
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


_NPY = b'\x93NUMPY'
# What files that are no masks begin with, what they are, and what to do.
_FOREIGN = (
    (
        rb'\xff\xd8|\0\0\0\x0cjP  |\xff\x4f\xff\x51|....ftyp(?:avif|heic|mif1)',
        'a JPEG or another photo, whose compression changes ids',
        'Save the mask as a PNG, from the program that drew it.',
    ),
    (
        rb'\s*\d+([ \t]+[01]?\.\d+){4}',
        'boxes or polygons of YOLO, written as text',
        'Draw them as ids: cv2.fillPoly, with x and y times width and height of the frame.',
    ),
    (rb'\s*[\[{].*"shapes"', 'polygons of LabelMe', 'Draw them as ids: labelme_export_json, or skimage.draw.polygon.'),
    (
        rb'\s*[\[{].*"(annotations|segmentation|counts)"',
        'annotations of COCO',
        'Name the file .json (stt-mm propagate), or read it by stt_mm.utils.mask_file.read_mask_file.',
    ),
    (rb'\s*[\[{]', 'JSON', 'Draw what it describes as ids into a PNG.'),
    (
        rb'MATLAB 5|\x89HDF',
        'a MATLAB or HDF5 file',
        "Save its array as a PNG: imwrite(uint8(mask), 'mask.png') in MATLAB.",
    ),
    (rb'PK\x03\x04', 'a zip file, such as .npz or .pth', 'Save the one array in it: numpy.save("mask.npy", mask).'),
    (rb'....ftyp|RIFF....AVI |\x1aE\xdf\xa3', 'a video', 'Save the mask of one frame as a PNG.'),
    (
        rb'8BPS|gimp xcf|\s*<svg|\s*<\?xml|\s*<annotation',
        'a drawing or annotation with layers or shapes',
        'Export the ids as a PNG, without smoothed edges.',
    ),
    (rb'version https://git-lfs', 'the pointer of a file in Git LFS', 'Fetch the file: git lfs pull.'),
    (rb'\s*(?i:<!doctype html|<html)', 'a web page', 'Download the file itself.'),
)


def load_mask(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Object ids as the file stores them, and the colours that an indexed image gives them.

    Args:
        path: an image of one channel of integers (PNG, TIFF, BMP, GIF, PGM; 1 to 32 bits; indexed or grey) or ``.npy``.

    Returns:
        uint8 ``[H, W]``, and uint8 ``[256, 3]`` (RGB) or ``None``.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingInputError(f'Mask not found: {path}.') from None
    except IsADirectoryError:
        raise InputError(f'Mask {path} is a folder. Name the file of one frame.') from None
    try:
        if data.startswith(_NPY):
            ids, palette = guarded(lambda: np.load(io.BytesIO(data), allow_pickle=False)), None
        else:
            ids, palette = _load_image(data, path)
    except ImageFault as fault:
        _refuse_foreign(data, path)
        raise InputError(f'Mask {path} cannot be used: {fault}. {fault.remedy}') from fault
    return as_ids(ids, f'Mask {path}'), palette


def as_ids(mask: np.ndarray, where: str) -> np.ndarray:
    """The same mask as uint8, refused unless it is integers ``[H, W]`` of 0 to 255; ``where`` begins the message."""
    if mask.ndim != 2 or mask.dtype.kind not in 'iub' or not mask.size:
        raise InputError(
            f'{where} must hold integers [H, W], the ids of objects, got {mask.dtype} {list(mask.shape)}. '
            'Number the objects 1 to 255 and the background 0, in one channel.'
        )
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high > 255:
        raise InputError(
            f'{where} holds ids {low} to {high}. Number the objects 1 to 255, for example by '
            'numpy.unique(mask, return_inverse=True)[1].reshape(mask.shape).'
        )
    return mask.astype(np.uint8)


def _load_image(data: bytes, path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    if data.startswith(JPEG):
        raise ImageFault('it is a JPEG')
    image = open_image(data)
    if data.startswith((b'P1', b'P4')) or getattr(image, 'tag_v2', {}).get(262) == 0:
        raise ImageFault(
            'white is 0 in it (PBM, or a TIFF of MinIsWhite), so that programs differ in what is the background',
            'Save it as a PNG, with the background 0.',
        )
    # Where the picture ends early, Pillow makes the rest background. OpenCV wants a palette, which ids do not need.
    checkable = data.startswith(PNG) and (data[25] != 3 or b'PLTE' in data)
    if checkable and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is None:
        raise ImageFault('it is damaged, or its picture ends early')
    pages = guarded(lambda: getattr(image, 'n_frames', 1))
    if pages > 1:
        raise ImageFault(f'it holds {pages} pages', 'Save the page of this frame as a file of its own.')
    if image.mode in ('P', '1', 'L') or image.mode.startswith('I'):
        # Of a PGM Pillow makes the number that its header calls white 255, or 65535 if it is more.
        decoder, _, _, arguments = image.tile[0] if isinstance(image, PpmImageFile) else [''] * 4
        array = guarded(lambda: np.asarray(image))
        if decoder.startswith('ppm'):
            white = arguments[1]
            array = np.rint(array * (white / (255 if white < 256 else 65535))).astype(np.int64)
        elif image.mode == 'L':  # Pillow spreads grey of 2 or 4 bits over 0 to 255.
            array = array // (255 // (2 ** min(_bits(image, data), 8) - 1))
        return array, _palette(image) if image.mode == 'P' else None
    kind = {'F': 'floating point numbers', 'LA': 'grey with opacity'}.get(image.mode, 'colours, which name no ids')
    raise InputError(
        f'Mask {path} is an image of mode {image.mode}: {kind}. Save the ids as integers in one channel, grey or '
        'indexed (stt_mm.utils.write_mask); the section "Masks" of docs/own_video.md has commands for it.'
    )


def _bits(image: Image.Image, data: bytes) -> int:
    """Of a sample, as the file of a PNG or TIFF says."""
    return data[24] if data.startswith(PNG) else getattr(image, 'tag_v2', {}).get(258, (8,))[0]


def _palette(image: Image.Image) -> np.ndarray:
    colors = np.frombuffer(bytes(image.getpalette('RGB')), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    return palette


def _refuse_foreign(data: bytes, path: str | Path) -> None:
    start = without_mark(data[: 1 << 20])
    if start.lstrip()[:1] not in (b'[', b'{'):
        start = start[:4096]
    for pattern, kind, remedy in _FOREIGN:
        if re.match(pattern, start, re.DOTALL):
            raise InputError(f'Mask {path} is {kind}. {remedy}') from None


VOID = 255


def read_mask(path: str | Path) -> np.ndarray:
    """Object ids as the file stores them, whatever its colours; see :func:`stt_mm.utils.masks.load_mask`.

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
    """Writes ids, ``[H, W]`` integers or booleans of 0 to 255, as an indexed PNG with the DAVIS palette.

    Missing parent folders are made.
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
    """A mask, uint8 ``[H, W]``, at a size (height, width), without new ids.

    Nearest by pixel centres, as Pillow does; OpenCV's ``INTER_NEAREST`` takes other pixels.
    """
    height, width = size
    return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
