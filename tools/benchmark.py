"""Time and peak memory, every figure and what it is compared with measured in one run.

Each row runs in a process of its own, after a warm-up; memory is the growth of the peak while the part runs (resident
memory on a CPU, allocated memory on a GPU), so that rows do not share a high-water mark.
"""

import argparse
import os

import torch
from benchmarks import data, davis_metric, pretrain, propagate, train

from stt_mm.engine.cli import one_line_errors
from stt_mm.utils.checks import usable_device

EPILOG = """examples:
  python tools/benchmark.py train                        # R18, batch 4, 256 x 256, as README quotes it
  python tools/benchmark.py train --depth 50 --device cuda
  python tools/benchmark.py pretrain                     # DetCo against MoCo v2, R18, batch 32
  python tools/benchmark.py data                         # images and pairs of frames per second and process
  python tools/benchmark.py propagate                    # 480 x 854, R18, strides 8 and 4, against dense and floor
  python tools/benchmark.py metric                       # J and F of DAVIS against the plain form"""
COMMANDS = dict(
    data=(data, 'samples loaded per second, against what the model takes'),
    train=(train, 'parts of a training iteration, windowed against dense'),
    pretrain=(pretrain, 'a step of DetCo against one of MoCo v2'),
    propagate=(propagate, 'a step of label propagation, against the dense form and the bare products'),
    metric=(davis_metric, 'the DAVIS metric, against the plain form'),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(
            name, help=text, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.add_argument(
            '--threads', type=int, default=os.cpu_count(), help='CPU threads (default: all, %(default)s)'
        )
        command.add_argument(
            '--device',
            default='cuda' if torch.cuda.is_available() else 'cpu',
            help='cpu or cuda (default: %(default)s)',
        )
    args = parser.parse_args(argv)
    for name in ('threads', 'batch', 'repeats', 'size', 'frames', 'objects'):
        least = 3 if name == 'frames' else 1
        values = getattr(args, name, least)
        if min(values if isinstance(values, list | tuple) else [values]) < least:
            parser.error(f'--{name} must be at least {least}, got {values}')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        usable_device(args.device)
        COMMANDS[args.command][0].run(args)


if __name__ == '__main__':
    main()
