"""How far points end up from where they should be, at strides 8 and 4 and found again in the frames, and what it costs.

The first frames of the bundled videos, at 256 x 256, are moved smoothly by homographies, by about a pixel per frame, so
that the true places are known to any fraction. Half of the points lie close to corners, the others anywhere, at the
border too and where nothing tells one place from the next. The root of the mean square distance and the median are in
pixels, over all frames but the first one and all points that are still in the frame. The time is that of the processor,
from decoded frames to points, network included.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from stt_mm.engine import load_config
from stt_mm.engine.cli import between
from stt_mm.models import load_for_evaluation
from stt_mm.registry import MODELS
from stt_mm.utils import FrameSequence, list_images

DEMO = Path(__file__).parents[2] / 'demo'
FRAMES = DEMO / 'data' / 'davis' / 'JPEGImages' / '480p'
CHECKPOINT = 'stt_r18_demo'
SIZE = 256
POINTS = 32  # of each kind
MARGIN = 10  # pixels between corners and the border of the first frame
GEOMETRIES = {'s8': 'stride8', 's4': 'stride4'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--protocols',
        nargs='+',
        default=['stt_tapvid_s8', 'stt_tapvid_s4', 'stt_tapvid_fine_s8', 'stt_tapvid_fine_s4'],
        metavar='NAME',
        help='protocols for points, ending in the stride that they are for, _s8 or _s4',
    )
    parser.add_argument(
        '--checkpoint',
        default=CHECKPOINT,
        help='weights of a ResNet-18, or none for an untrained one (default: the bundled network)',
    )
    parser.add_argument('--videos', type=between(1), default=8, help='number of bundled videos')
    parser.add_argument('--frames', type=between(2), default=10, help='frames of each sequence')


def homographies(count: int, generator: np.random.Generator) -> list[np.ndarray]:
    """How pixels of the first frame move to each one: shifts, a turn, a zoom and a tilt that come and go smoothly."""
    most = np.array([7.0, 7.0, np.deg2rad(4.0), 0.05, 1e-4, 1e-4])
    most, rates = generator.uniform(-1, 1, 6) * most, generator.uniform(0.5, 1.0, 6)
    to_centre = np.array([[1.0, 0, (1 - SIZE) / 2], [0, 1, (1 - SIZE) / 2], [0, 0, 1]])
    found = []
    for frame in range(count):
        x, y, turn, zoom, tilt, pan = most * np.sin(rates * np.pi * frame / max(count - 1, 1))
        cos, sin = (1 + zoom) * np.cos(turn), (1 + zoom) * np.sin(turn)
        moved = np.array([[cos, -sin, x], [sin, cos, y], [tilt, pan, 1]])
        found.append(np.linalg.inv(to_centre) @ moved @ to_centre)
    return found


def moved_points(points: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Points ``[J, 2]``, (x, y), after a homography."""
    x, y, scale = homography @ np.c_[points, np.ones(len(points))].T
    return np.stack([x / scale, y / scale], axis=1)


def sequence(image: np.ndarray, count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames made of an image ``[H, W, 3]``, and tracks ``[T, J, 2]``, those on corners first."""
    generator = np.random.default_rng(seed)
    rows, columns = (SIZE / side for side in image.shape[:2])
    resize = np.array([[columns, 0, (columns - 1) / 2], [0, rows, (rows - 1) / 2], [0, 0, 1]])
    moves = homographies(count, generator)
    frames = [
        cv2.warpPerspective(
            image, move @ resize, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        for move in moves
    ]
    grey = cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY)
    inner = np.pad(np.ones((SIZE - 2 * MARGIN,) * 2, np.uint8), MARGIN)
    corners = cv2.goodFeaturesToTrack(grey, POINTS, qualityLevel=0.01, minDistance=8, mask=inner)[:, 0]
    # Beside the corners, as a user would click, and between whole pixels.
    corners = corners + generator.uniform(-2, 2, corners.shape)
    points = np.concatenate([corners, generator.uniform(0, SIZE - 1, (POINTS, 2))])
    return frames, np.stack([moved_points(points, move) for move in moves])


def run(args: argparse.Namespace) -> Iterator[dict]:
    """A row per protocol."""
    torch.set_num_threads(args.threads)
    init_default_scope('stt_mm')
    MMLogger.get_instance('benchmark', log_level='ERROR')
    folders = sorted(FRAMES.iterdir())[: args.videos]
    made = [sequence(FrameSequence(list_images(folder))[0], args.frames, n) for n, folder in enumerate(folders)]
    for name in args.protocols:
        options = {'model.propagator.protocol': dict(name=name), 'model.backbone.geometry': GEOMETRIES[name[-2:]]}
        model = MODELS.build(load_config('eval/tapvid_davis_r18_s8', options).model)
        checkpoint = None if args.checkpoint == 'none' else args.checkpoint
        load_for_evaluation(model, checkpoint, allow_other_geometry=True)
        model = model.to(args.device).to(memory_format=torch.channels_last).eval()
        distances, seconds = ([], []), 0.0
        for frames, tracks in made:
            start = time.process_time()
            found = np.stack([labels.points for labels in model.track(frames, {}, {0: tracks[0]})])
            seconds += time.process_time() - start
            inside = ((tracks >= 0) & (tracks <= SIZE - 1)).all(2) & (np.arange(len(tracks)) > 0)[:, None]
            distance, corners = np.linalg.norm(found - tracks, axis=2), tracks.shape[1] - POINTS
            for part, rows in zip(distances, (slice(0, corners), slice(corners, None)), strict=True):
                part.append(distance[:, rows][inside[:, rows]])
        row = dict(protocol=name)
        for kind, part in zip(('corners', 'anywhere'), map(np.concatenate, distances), strict=True):
            row |= {f'{kind} rms': float(np.sqrt(np.square(part).mean())), f'{kind} median': float(np.median(part))}
        yield row | {'CPU s per frame': seconds / sum(len(frames) for frames, _ in made)}
