"""A 480p video from its files to its masks, as evaluation and the API run it: decoding, network, propagation, masks.

The bundled clip is read over and over; the memory is full before anything is measured. Networks start at random.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from benchmarks.common import measured

from stt_mm.apis import VideoPropagator
from stt_mm.utils import FrameSequence, list_images, read_mask

DAVIS = Path(__file__).parents[2] / 'demo' / 'data' / 'davis'
CLIP = 'bus'
FRAMES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--configs',
        nargs='+',
        metavar='CONFIG',
        default=['eval/davis_r18_s8', 'eval/davis_r18_s4'],
        help='evaluation configs',
    )


def endless() -> Iterator[np.ndarray]:
    """The frames of the clip, decoded anew each time."""
    while True:
        yield from FrameSequence(list_images(DAVIS / 'JPEGImages' / '480p' / CLIP))


def prepare(config: str, args: argparse.Namespace) -> Callable[[], object]:
    """Carries the masks through the next frames."""
    propagator = VideoPropagator(config, device=args.device)
    propagator.model.init_weights()
    mask = read_mask(DAVIS / 'Annotations' / '480p' / CLIP / '00000.png')
    results = propagator.stream(endless(), mask)
    for _ in islice(results, 1 + propagator.model.propagator.protocol.num_context):
        pass
    return lambda: [result.mask for result in islice(results, FRAMES)]


def run(args: argparse.Namespace) -> Iterator[dict]:
    """A row per config."""
    for config in args.configs:
        seconds, memory = measured(prepare, config, args)
        yield {'part': config, 'seconds per frame': seconds / FRAMES, 'MiB': memory, 'frames/s': FRAMES / seconds}
