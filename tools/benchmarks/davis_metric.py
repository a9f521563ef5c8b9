"""J and F of DAVIS for a whole video.

The masks are generated at the size of DAVIS: blobs of 2 to 15 % of the frame that move and change their form;
predictions are off by some pixels, leak into specks and lose objects at times. One process, one thread.
"""

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
from torch.utils.benchmark import Timer

from stt_mm.evaluation.functional.davis import evaluate_video

SIZE = (480, 854)
FRAMES = 70
OBJECTS = (1, 2, 4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none but those of all benchmarks."""


def generate(num_frames: int, num_objects: int, size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and truths, uint8 ``[T, H, W]``."""
    rng = np.random.default_rng(seed)
    area, (height, width) = rng.uniform(0.02, 0.15, num_objects) * np.prod(size), size
    centre, speed = (rng.uniform(low, 1, (num_objects, 2)) for low in (0, -1))
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = 0.2 * np.sin(np.arange(2, 6)[:, None] * angles).sum(0)
    masks = np.zeros((2, num_frames, height, width), np.uint8)
    for t, k, source in np.ndindex(num_frames, num_objects, 2):
        error = rng.normal(0, 4, 2) if source == 0 else 0
        radius = np.sqrt(area[k] / np.pi) * (1 + np.roll(waves, t + 7 * k) + rng.normal(0, 0.03 * (1 - source), 90))
        points = centre[k] * (width, height) + 2.5 * speed[k] * t + error
        points = points + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if source == 1 or rng.random() > 0.02:
            cv2.fillPoly(masks[source, t], [np.round(points).astype(np.int32)], k + 1)
        if source == 0:
            x, y = (int(rng.integers(0, side)) for side in (width, height))
            cv2.circle(masks[0, t], (x, y), int(rng.integers(1, 6)), k + 1, -1)
    return masks[0], masks[1]


def run(args: argparse.Namespace) -> Iterator[dict]:
    """A row for each number of objects."""
    for number in OBJECTS:
        predictions, truths = generate(FRAMES, number, SIZE)
        timer = Timer(
            'evaluate_video(*masks)', globals=dict(evaluate_video=evaluate_video, masks=(predictions, truths))
        )
        seconds = timer.blocked_autorange(min_run_time=args.seconds).median
        share = float(np.mean([(truths == k).mean() for k in range(1, number + 1)]))
        yield {'objects': str(number), 'of the frame': share, 'seconds': seconds}
