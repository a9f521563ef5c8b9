"""Frames as a network sees them: size, colour (sRGB to CIE Lab), normalisation, and dropped colour channels."""

from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops.devices import kept, to_device

# sRGB primaries to XYZ under D65, then divided by the white point, as OpenCV documents its RGB2Lab.
RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.950456, 1.0, 1.088754)

# Mean and deviation per channel, of L in [0, 100], a, b, or of R, G, B in [0, 1]. DINO evaluates with 0.228 for red.
# Lightness is that of OpenCV's 8-bit Lab over 256, as grey that an ImageNet network sees (UVC).
COLORS = dict(
    lab=((50.0, 0.0, 0.0), (50.0, 127.0, 127.0)),
    rgb=((123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)),
    rgb_dino=((0.485, 0.456, 0.406), (0.228, 0.224, 0.225)),
    lightness=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
)
Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
Color = str | Statistics
Resize = Literal['bilinear', 'bicubic']


def color_space(color: Color) -> str:
    """``lab``, ``lightness`` or ``rgb``, whatever the mean and deviation."""
    return color if color in ('lab', 'lightness') else 'rgb'


@kept(limit=8)
def _statistics(color: Color, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """``[2, 3, 1, 1]``: mean and deviation."""
    values = COLORS[color] if isinstance(color, str) else color
    return to_device(torch.tensor(values, dtype=dtype).view(2, 3, 1, 1), device)


@kept(limit=4)
def _relative_xyz(device: torch.device, dtype: torch.dtype) -> Tensor:
    """``[3, 3]``: linear RGB to XYZ relative to the white point."""
    return to_device(torch.tensor(RGB_TO_XYZ, dtype=dtype) / torch.tensor(WHITE, dtype=dtype)[:, None], device)


def normalise_frames(frames: Tensor, color: Color) -> Tensor:
    """RGB in [0, 1] to the normalised colours of a network, differentiably and on any device.

    Args:
        frames: ``[..., 3, H, W]``.
        color: a key of :data:`COLORS`, or mean and deviation of R, G and B in [0, 1]. Lab then lies within about
            [-1, 1].
    """
    mean, std = _statistics(color, frames.device, frames.dtype)
    space = color_space(color)
    if space != 'rgb':
        frames = rgb_to_lab(frames)
    if space == 'lightness':
        frames = frames[..., :1, :, :] * (255 / 100 / 256)
    return (frames - mean) / std


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


def image_to_input(image: np.ndarray, color: Color) -> Tensor:
    """The same for one picture of an evaluation; Lab by OpenCV's conversion, as in the published protocols.

    Args:
        image: uint8 ``[H, W, 3]``, RGB.
        color: as above.

    Returns:
        float32 ``[3, H, W]`` on the CPU.
    """
    scaled = image.astype(np.float32) / 255
    if color == 'lab':
        scaled = cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)
    elif color == 'lightness':
        scaled = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., :1], 3, axis=2).astype(np.float32) / 256
    mean, std = _statistics(color, torch.device('cpu'))
    return (torch.from_numpy(scaled).permute(2, 0, 1) - mean) / std


def bytes_to_input(image: Tensor, color: Color) -> Tensor:
    """:func:`image_to_input` where a picture lies, on a GPU: the same numbers, without its work on the host.

    Args:
        image: uint8 ``[H, W, 3]``, RGB.
        color: as above. The first picture in Lab or lightness on a device makes a table of 192 MiB there.

    Returns:
        float32 ``[3, H, W]`` on the device of the picture.
    """
    if color_space(color) != 'rgb':
        red, green, blue = image.int().unbind(2)
        table = _lab_of_bytes(image.device) if color == 'lab' else _lightness_of_bytes(image.device)
        return table[(red << 16) + (green << 8) + blue].permute(2, 0, 1)
    mean, std = _statistics(color, image.device)
    return (image.permute(2, 0, 1).float() / 255 - mean) / std


@kept(limit=1)
def _lab_of_bytes(device: torch.device) -> Tensor:
    return _input_of_bytes('lab', device)


@kept(limit=1)
def _lightness_of_bytes(device: torch.device) -> Tensor:
    return _input_of_bytes('lightness', device)


def _input_of_bytes(color: str, device: torch.device) -> Tensor:
    """float32 ``[2 ** 24, 3]``, the input of every colour: OpenCV interpolates, which no formula repeats."""
    table = torch.empty(2**24, 3, device=device)
    plane = np.stack(np.meshgrid(np.zeros(1), np.arange(256), np.arange(256), indexing='ij'), -1)[0].astype(np.uint8)
    for red in range(256):
        plane[..., 0] = red
        table[red << 16 : (red + 1) << 16] = image_to_input(plane, color).flatten(1).t().to(device)
    return table


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab in OpenCV's float convention.

    Args:
        rgb: ``[..., 3, H, W]``, sRGB in [0, 1].

    Returns:
        ``[..., 3, H, W]``: L in [0, 100], a in about [-86.2, 98.2], b in about [-107.9, 94.5].
    """
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum('ij,...jhw->...ihw', _relative_xyz(rgb.device, rgb.dtype), linear)
    root = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(-3)
    lightness = torch.where(xyz[..., 1, :, :] > 0.008856, 116 * y - 16, 903.3 * xyz[..., 1, :, :])
    return torch.stack([lightness, 500 * (x - y), 200 * (y - z)], dim=-3)


def color_centres(count: int) -> tuple[tuple[float, float], ...]:
    """Normalised (a, b) of k-means of all colours: of those of a regular grid of 16 levels of R, G and B.

    The first centre is grey, each further one the colour that is farthest from all before; 50 steps of Lloyd's
    algorithm follow. Nothing is drawn, so the centres are always the same.
    """
    levels = np.linspace(0, 1, 16)
    rgb = torch.from_numpy(np.stack(np.meshgrid(levels, levels, levels, indexing='ij')).reshape(3, 16, 256))
    colors = normalise_frames(rgb, 'lab')[1:].flatten(1).T.numpy()
    centres = np.zeros((1, 2))
    while len(centres) < count:
        distance = ((colors[:, None] - centres) ** 2).sum(2).min(1)
        centres = np.concatenate([centres, colors[distance.argmax()][None]])
    for _ in range(50):
        nearest = ((colors[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([colors[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(count)])
    return tuple((float(a), float(b)) for a, b in centres)


@kept(limit=4)
def _centres(centres: tuple[tuple[float, float], ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return to_device(torch.tensor(centres, dtype=dtype), device)


def nearest_centre(frames: Tensor, centres: tuple[tuple[float, float], ...]) -> Tensor:
    """Number of the centre that is nearest to a and b of each pixel: ``[B, 3, H, W]`` Lab to int64 ``[B, 1, H, W]``."""
    table = _centres(centres, frames.device, frames.dtype)
    products = torch.einsum('bchw,kc->bkhw', frames[:, 1:], table)
    return (products - table.square().sum(1)[:, None, None] / 2).argmax(1, keepdim=True)


def drop_channels(frames: Tensor, dropped: Tensor, rescale: bool = True) -> Tensor:
    """Set channels to 0 and enlarge the others so that the sum keeps its size.

    Args:
        frames: ``[B, T, C, H, W]``; not changed.
        dropped: bool ``[C]`` or ``[B, C]``, True where a channel is removed.
        rescale: multiply the kept channels by ``C / kept`` (3/2 for one of three).

    Returns:
        ``[B, T, C, H, W]``, a new tensor.
    """
    keep = (~dropped).to(frames.dtype)
    if rescale:
        keep = keep * (keep.shape[-1] / keep.sum(-1, keepdim=True).clamp(min=1))
    if keep.dim() == 2:
        keep = keep[:, None]
    return frames * keep[..., None, None]


def checked_input(frames: Tensor, weight: Tensor | None) -> Tensor:
    """The frames as they are, refused unless a network with such a weight can take them.

    Args:
        frames: ``[B, C, H, W]`` of the type and device of ``weight``; in autocast of any floating point type.
    """
    got = f'{str(frames.dtype).removeprefix("torch.")} {list(frames.shape)}' if isinstance(frames, Tensor) else frames
    if not isinstance(frames, Tensor) or frames.ndim != 4 or not frames.is_floating_point():
        raise InputError(
            f'The network takes normalised frames [B, 3, H, W] of floating point, got {got!s:.80}. '
            'stt_mm.apis.FeatureExtractor takes uint8 frames as they are.'
        )
    if weight is not None and frames.device != weight.device:
        raise InputError(f'The frames are on {frames.device}, the network on {weight.device}. Move one of them.')
    if weight is not None and frames.dtype != weight.dtype and not torch.is_autocast_enabled(frames.device.type):
        raise InputError(f'The network is {weight.dtype}, the frames are {got}. Give frames.to({weight.dtype}).')
    return frames
