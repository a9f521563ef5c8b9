"""Measure time, peak memory and the errors of points, each next to a reference.

Each row of time and memory runs in a process of its own, so that rows do not share a high-water mark: first to warm up,
then once for its memory, which is the growth of the peak (resident on a CPU, allocated on a GPU), then for its median
time. Where the speed of the machine wanders, --rounds measures all rows in turn several times; the last table has the
medians, of ratios as well.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from statistics import median, median_low

import torch
from benchmarks import bounds, davis_metric, points, propagate, train, video

from stt_mm.engine.cli import between, one_line_errors, tool_parser
from stt_mm.evaluation.metrics.tables import write_json
from stt_mm.utils.checks import usable_device

EPILOG = """examples:
  python tools/benchmark.py train                        # R18, batch 4, 256 x 256, as docs/speed.md quotes it
  python tools/benchmark.py train --configs stt_r50_ytv --device cuda --amp
  python tools/benchmark.py train --configs pretrain/mocov2_r18_in1k pretrain/detco_r18_in1k --batch 32
  python tools/benchmark.py train --configs liir/liir_r18_ytv model.negatives=None liir/liir_r18_ytv --batch 6 \\
      --step-only --rounds 7
  python tools/benchmark.py propagate                    # 480 x 854, R18, strides 8 and 4, against dense and floor
  python tools/benchmark.py propagate --strides 16       # 1440 x 2560 under the protocol of DINOv3, 384 channels
  python tools/benchmark.py bounds --plot bounds.png     # pairs that the bounds leave, by the number of directions
  python tools/benchmark.py video                        # 480p, frames per second with decoding and masks
  python tools/benchmark.py points                       # pixels by which points are off, by stride and refined
  python tools/benchmark.py metric                       # J and F of DAVIS"""
COMMANDS = dict(
    train=(train, 'a training iteration and its parts'),
    propagate=(propagate, 'a step of label propagation, against the dense form and the bare products'),
    bounds=(bounds, 'pairs of a step of label propagation that bounds leave'),
    video=(video, 'a 480p video, frames per second'),
    points=(points, 'how far points are from the truth, in frames moved by known homographies'),
    metric=(davis_metric, 'J and F of DAVIS for a whole video'),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    commands = parser.add_subparsers(dest='command', required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(
            name, help=text, description=module.__doc__, formatter_class=parser.formatter_class
        )
        module.add_arguments(command)
        command.add_argument('--threads', type=between(1), default=os.cpu_count(), help='CPU threads')
        command.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='cpu or cuda')
        command.add_argument('--seconds', type=float, default=2, help='how long to repeat each part at least')
        command.add_argument('--rounds', type=between(1), default=1, help='how often to measure all rows')
        command.add_argument('--json', metavar='FILE', help='write the rows there too')
    return parser.parse_args(argv)


def shown(rows: Iterable[dict]) -> list[dict]:
    """Print each row as it comes, below its heads if the row before had others."""
    before = {}
    kept = []
    for row in rows:
        (name, part), *numbers = row.items()
        if row.keys() != before.keys():
            print(f'{name:<44}' + ''.join(f'{key:>{len(key) + 4}}' for key, _ in numbers))
        texts = ((key, f'{value:.3f}' if isinstance(value, float) else value) for key, value in numbers)
        print(f'{part:<44}' + ''.join(f'{text:>{len(key) + 4}}' for key, text in texts), flush=True)
        kept.append(before := row)
    return kept


def medians(rows: Sequence[dict]) -> dict:
    """Of the numbers of one row, measured several times; whole numbers stay whole."""
    name, *numbers = rows[0]
    centres = ((key, median_low if isinstance(rows[0][key], int) else median) for key in numbers)
    return {name: rows[0][name]} | {key: centre(row[key] for row in rows) for key, centre in centres}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        usable_device(args.device)
        settings = {name: value for name, value in vars(args).items() if name != 'json'}
        settings['torch'] = torch.__version__
        if args.device.startswith('cuda'):
            settings['device'] = torch.cuda.get_device_name()
        print(', '.join(f'{name} {value}' for name, value in settings.items()))
        rounds = []
        for _ in range(args.rounds):
            rounds.append(shown(COMMANDS[args.command][0].run(args)))
        rows = rounds[0]
        if args.rounds > 1:
            print(f'medians of {args.rounds} rounds')
            rows = shown(map(medians, zip(*rounds, strict=True)))
        if args.json:
            write_json(args.json, dict(settings=settings, rows=rows))


if __name__ == '__main__':
    main()
