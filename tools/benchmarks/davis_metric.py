"""The DAVIS metric as shipped beside a plain reading of its definition, on the same masks in the same run.

The masks are generated at the size of DAVIS: blobs of 2 to 15 % of the frame that move and change their form;
predictions are off by some pixels, leak into specks and lose objects at times. One process, one thread.
"""

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
from torch.utils.benchmark import Timer

from stt_mm.errors import InputError
from stt_mm.evaluation.functional.davis import MEASURES, evaluate_video
from stt_mm.evaluation.functional.davis import statistics as frame_statistics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(480, 854),
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the frames (default: 480 854)',
    )
    parser.add_argument('--frames', type=int, default=70, help='frames of the video (default: %(default)s)')
    parser.add_argument(
        '--objects',
        type=int,
        nargs='+',
        default=(1, 2, 4),
        help='numbers of objects, one row of the table each (default: 1 2 4)',
    )


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


def straightforward(predictions: np.ndarray, truths: np.ndarray) -> list[dict[str, float]]:
    """What :func:`evaluate_video` returns, frame by frame and object by object, on whole frames."""
    height, width = truths.shape[1:]
    radius = int(np.ceil(0.008 * np.hypot(height, width)))
    offsets = np.arange(-radius, radius + 1)
    disc = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    scores = []
    for object_id in range(1, int(truths[0].max()) + 1):
        regions, boundaries = [], []
        for prediction, truth in zip(predictions[1:-1] == object_id, truths[1:-1] == object_id, strict=True):
            union = np.sum(prediction | truth)
            regions.append(np.sum(prediction & truth) / union if union else 1.0)
            boundaries.append(_boundary_measure(_boundary(prediction), _boundary(truth), disc))
        numbers = frame_statistics(np.array(regions)) + frame_statistics(np.array(boundaries))
        scores.append(dict(zip(MEASURES, numbers, strict=True)))
    return scores


def _boundary(mask: np.ndarray) -> np.ndarray:
    right, below, diagonal = (np.zeros_like(mask) for _ in range(3))
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    boundary = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    boundary[-1] = mask[-1] ^ right[-1]
    boundary[:, -1] = mask[:, -1] ^ below[:, -1]
    boundary[-1, -1] = False
    return boundary


def _boundary_measure(prediction: np.ndarray, truth: np.ndarray, disc: np.ndarray) -> float:
    near_truth = cv2.dilate(truth.astype(np.uint8), disc).astype(bool)
    near_prediction = cv2.dilate(prediction.astype(np.uint8), disc).astype(bool)
    num_prediction, num_truth = np.sum(prediction), np.sum(truth)
    if num_prediction == 0 or num_truth == 0:
        return float(num_prediction == num_truth)
    precision = np.sum(prediction & near_truth) / num_prediction
    recall = np.sum(truth & near_prediction) / num_truth
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def run(args: argparse.Namespace) -> Iterator[dict]:
    """A row for each number of objects.

    Raises:
        ValueError: the two forms differ.
    """
    for number in args.objects:
        predictions, truths = generate(args.frames, number, tuple(args.size))
        results, seconds = [], []
        for form in (straightforward, evaluate_video):
            results.append(form(predictions, truths))
            timer = Timer('form(predictions, truths)', globals=dict(form=form, predictions=predictions, truths=truths))
            seconds.append(timer.blocked_autorange(min_run_time=args.seconds).median)
        difference = max(
            abs(plain[key] - shipped[key]) for plain, shipped in zip(*results, strict=True) for key in MEASURES
        )
        if difference > 1e-12:
            raise InputError(f'The shipped metric differs from its definition by {difference}.')
        share = float(np.mean([(truths == k).mean() for k in range(1, number + 1)]))
        times = {'plain s': seconds[0], 'shipped s': seconds[1], 'ratio': seconds[0] / seconds[1]}
        yield {'objects': str(number), 'of the frame': share, **times, 'difference': float(difference)}
