"""Draw the loss curves of training runs, one panel per run."""

import argparse
import json
import math
from pathlib import Path

from matplotlib.figure import Figure

from stt_mm.engine.cli import one_line_errors, tool_parser
from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.targets import check_file
from stt_mm.utils.text import read_text
from stt_mm.visualization import write_figure

EPILOG = """examples:
  python tools/analysis/plot_losses.py work_dirs/stt_r18_ytv
  python tools/analysis/plot_losses.py work_dirs/mocov2_r18_demo work_dirs/stt_r18_demo_full --out losses.png

A run that was interrupted and resumed is one curve. Each term is drawn as it enters the sum, with its weight; the
sum is black."""
PANELS_PER_ROW = 3


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='work directory of a training')
    parser.add_argument('--out', type=Path, metavar='FILE.png', help='picture (default: WORK_DIR/losses.png)')
    args = parser.parse_args(argv)
    args.out = args.out or args.work_dirs[0] / 'losses.png'
    if args.out.suffix.lower() != '.png':
        parser.error(f'the picture is a .png file, got --out {args.out}')
    return args


def logs_of(work_dir: Path) -> list[Path]:
    return sorted(work_dir.glob('*/vis_data/scalars.json'))


def read_losses(work_dir: Path) -> dict[str, dict[int, float]]:
    """Every logged loss by iteration, in the order of the iterations.

    A log replaces what earlier ones have from its first iteration on: a run that was resumed goes on from a checkpoint.
    """
    logs = logs_of(work_dir)
    if not logs:
        raise MissingInputError(
            f'No log of a training in {work_dir}: expected <time>/vis_data/scalars.json in it, as '
            'tools/train.py writes it.'
        )
    steps: list[dict[str, float]] = []
    for log in logs:
        found = [values for values in read_lines(log) if 'iter' in values]
        if found:
            steps = [values for values in steps if values['iter'] < found[0]['iter']] + found
    names = dict.fromkeys(name for values in steps for name in values if 'loss' in name)
    if not names:
        raise InputError(f'The logs in {work_dir} hold no loss yet.')
    return {name: {values['iter']: values[name] for values in steps if name in values} for name in names}


def read_lines(log: Path) -> list[dict[str, float]]:
    """The JSON objects of a file, one per line; what follows the last line's end was cut off by a kill."""
    lines = []
    for number, line in enumerate(read_text(log).split('\n')[:-1], start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise InputError(f'{log}, line {number} is no JSON ({error}). Remove that line.') from error
        if not isinstance(lines[-1], dict):
            raise InputError(f'{log}, line {number} is no JSON object, got {line:.80}. Remove that line.')
    return lines


def draw(runs: dict[str, dict[str, dict[int, float]]], path: Path) -> None:
    """Write a picture with one panel per run, logarithmic if its losses are positive and span a factor of 10.

    ``runs`` has what :func:`read_losses` returns by the title of the panel.
    """
    columns = min(len(runs), PANELS_PER_ROW)
    rows = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(6 * columns, 4 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(runs) :]:
        axes.remove()
    for axes, (title, losses) in zip(grid.flat, runs.items(), strict=False):
        for name, curve in losses.items():
            whole = name == 'loss'
            axes.plot(
                list(curve),
                list(curve.values()),
                label=name,
                color='black' if whole else None,
                linewidth=2 if whole else 1,
                marker='.' if len(curve) == 1 else None,
            )
        values = [value for curve in losses.values() for value in curve.values()]
        if max(values) >= 10 * min(values) > 0:
            axes.set_yscale('log')
        axes.set_title(title)
        axes.set_xlabel('iteration')
        axes.grid(alpha=0.4)
        axes.legend(fontsize='small')
    figure.tight_layout()
    write_figure(figure, path)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        check_file(args.out, [log for work_dir in args.work_dirs for log in logs_of(work_dir)])
        runs = {str(work_dir): read_losses(work_dir) for work_dir in args.work_dirs}
        draw(runs, args.out)
    for title, losses in runs.items():
        print(
            f'{title}: {", ".join(f"{name} {list(curve.values())[-1]:.4g}" for name, curve in losses.items())} '
            f'at iteration {max(max(curve) for curve in losses.values())}'
        )
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
