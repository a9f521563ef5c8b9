"""Matches drawn over frames: heat maps, marks and skeletons."""

import cv2
import numpy as np

from stt_mm.errors import InputError
from stt_mm.utils.masks import display_colors
from stt_mm.visualization.overlay import check_frame, draw_points

RIGHT, WRONG, UNKNOWN = (40, 200, 80), (230, 40, 40), (0, 190, 255)
# Pairs of the 15 joints of JHMDB: neck, belly, face; shoulders, hips, elbows, knees, wrists, ankles, each right, left.
BONES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (3, 7), (4, 8), (5, 9), (6, 10))
BONES += ((7, 11), (8, 12), (9, 13), (10, 14))
JOINTS = 15


def draw_heat(frame: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map over a frame, which turns grey and dark; the largest value is brightest, whatever it is.

    Args:
        frame: uint8 ``[H, W, 3]``, RGB.
        heat: float ``[H, W]``, not negative.

    Returns:
        uint8 ``[H, W, 3]``, RGB; a new array.
    """
    check_frame(frame)
    if heat.shape != frame.shape[:2]:
        raise InputError(f'draw_heat: heat must be {list(frame.shape[:2])} like the frame, got {list(heat.shape)}.')
    heat = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    grey = 0.55 * cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colors = cv2.applyColorMap(np.rint(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    # Opaque where it is high; the root leaves low values visible.
    opacity = 0.9 * np.sqrt(heat)[..., None]
    return np.rint(grey * (1 - opacity) + colors * opacity).astype(np.uint8)


def draw_mark(picture: np.ndarray, point: np.ndarray, color: tuple[int, int, int], filled: bool = False) -> np.ndarray:
    """A picture with a ring, or a dot, around a point ``[2]``, (x, y) in pixels; on a white rim, in a new array."""
    check_frame(picture)
    side = min(picture.shape[:2])
    picture, radius = picture.copy(), max(4, round(side / 40)) if filled else max(6, round(side / 28))
    centre, line = tuple(round(float(place)) for place in point), max(2, radius // 5)
    thickness = cv2.FILLED if filled else line
    cv2.circle(picture, centre, radius, (255, 255, 255), thickness if filled else line + 3, cv2.LINE_AA)
    cv2.circle(picture, centre, radius - (2 if filled else 0), color, thickness, cv2.LINE_AA)
    return picture


def draw_skeleton(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A picture with points as :func:`draw_points` draws them, and the bones between the 15 joints of JHMDB.

    Args:
        picture: uint8 ``[H, W, 3]``, RGB.
        points: ``[J, 2]``, (x, y) in pixels; with a negative coordinate or NaN a joint and its bones are not drawn.
            Where J is not 15 there are no bones.
    """
    check_frame(picture)
    picture, colors = picture.copy(), display_colors().tolist()
    thickness = max(2, round(min(picture.shape[:2]) / 120))
    for start, end in BONES if len(points) == JOINTS else ():
        if (points[[start, end]] >= 0).all():
            ends = [tuple(round(place) for place in points[joint].tolist()) for joint in (start, end)]
            cv2.line(picture, *ends, (255, 255, 255), thickness + 2, cv2.LINE_AA)
            cv2.line(picture, *ends, colors[end + 1], thickness, cv2.LINE_AA)
    return draw_points(picture, points)
