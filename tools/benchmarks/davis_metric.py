"""The DAVIS metric as shipped beside a plain reading of its definition, on the same masks in the same run.

The masks are generated at the size of DAVIS: blobs of 2 to 15 % of the frame that move and change their form;
predictions are off by some pixels, leak into specks and lose objects at times. One process, one thread.
"""

import argparse
import statistics
import time

import cv2
import numpy as np

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
    parser.add_argument('--repeats', type=int, default=3, help='runs; the median counts (default: %(default)s)')


def generate(num_frames: int, num_objects: int, size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and truths, uint8 ``[T, H, W]``."""
    rng = np.random.default_rng(seed)
    height, width = size
    masks = np.zeros((2, num_frames, height, width), np.uint8)
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    area = rng.uniform(0.02, 0.15, num_objects) * height * width
    centre = rng.uniform(0.25, 0.75, (num_objects, 2)) * (width, height)
    speed = rng.uniform(-2.5, 2.5, (num_objects, 2))
    waves, phases = rng.uniform(0.03, 0.2, (num_objects, 5)), rng.uniform(0, 2 * np.pi, (num_objects, 5))
    for t in range(num_frames):
        for k in range(num_objects):
            for source in (0, 1):
                error = rng.normal(0, 4, 2) if source == 0 else 0
                wobble = sum(waves[k, n] * np.sin((n + 2) * angles + phases[k, n] + 0.1 * t) for n in range(5))
                noise = rng.normal(0, 0.03, len(angles)) if source == 0 else 0
                radius = np.sqrt(area[k] / np.pi) * np.clip(1 + wobble + noise, 0.2, None)
                points = (
                    centre[k]
                    + speed[k] * t
                    + error
                    + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
                )
                if source == 1 or rng.random() > 0.02:
                    cv2.fillPoly(masks[source, t], [np.round(points).astype(np.int32)], k + 1)
            for _ in range(rng.integers(0, 3)):
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


def run(args: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        ValueError: the two disagree by more than 1e-12.
    """
    cv2.setNumThreads(1)
    print(
        f'DAVIS metric, {args.frames} frames of {args.size[0]} x {args.size[1]}, one process, median of '
        f'{args.repeats} runs'
    )
    print(f'{"objects":>8}{"of the frame":>14}{"plain s":>10}{"shipped s":>11}{"ratio":>8}{"difference":>12}')
    for num_objects in args.objects:
        predictions, truths = generate(args.frames, num_objects, tuple(args.size))
        seconds, results = zip(
            *(_timed(function, predictions, truths, args.repeats) for function in (straightforward, evaluate_video)),
            strict=True,
        )
        difference = max(
            abs(plain[key] - shipped[key]) for plain, shipped in zip(*results, strict=True) for key in MEASURES
        )
        if difference > 1e-12:
            raise InputError(f'The shipped metric differs from its definition by {difference}.')
        share = np.mean([(truths == k).mean() for k in range(1, num_objects + 1)])
        print(
            f'{num_objects:>8}{share:>14.1%}{seconds[0]:>10.2f}{seconds[1]:>11.3f}{seconds[0] / seconds[1]:>8.1f}'
            f'{difference:>12.1e}'
        )


def _timed(function, predictions, truths, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function(predictions, truths)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result
