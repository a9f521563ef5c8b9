"""Train briefly on the bundled clips, and score the result."""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from stt_mm.engine.cli import between, one_line_errors, tool_parser
from stt_mm.engine.steps import own_folder, run_step
from stt_mm.errors import MissingInputError, writing
from stt_mm.utils import read_image, read_mask, resize_mask
from stt_mm.visualization import VideoWriter, overlay, write_comparison

ROOT = Path(__file__).resolve().parent.parent
DAVIS = Path('demo/data/davis')
SHOWN = 'soccer'
SHORT_SIDE = 320
WARMUP = 20

EXAMPLES = """examples:
  bash tools/quickstart.sh                     (makes the environment first)
  python tools/quickstart.py --iters 1000      (in an environment that is ready)

Uses a GPU if there is one, and needs none. Everything is written below the work directory; each run starts afresh."""


@dataclass
class Method:
    """One row of the table."""

    key: str
    label: str
    config: str
    checkpoint: str
    metrics: dict[str, float] = field(default_factory=dict)


def python_name() -> str:
    """This interpreter as one would type it in the repository."""
    python = Path(sys.executable)
    return str(python.relative_to(ROOT)) if python.is_relative_to(ROOT) else str(python)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument('--iters', type=between(1), default=150, metavar='N', help='iterations of 8 clips')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/quickstart'),
        metavar='DIR',
        help='where everything is written, from the repository',
    )
    return parser.parse_args(argv)


def prepare_work_dir(folder: Path) -> None:
    """Make the folder, or take out of it what an earlier run left; refused if it holds something else alone."""
    own_folder(folder, '.quickstart')
    with writing(folder):
        for name in ('train', 'eval', 'masks', 'logs'):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        for name in ('overlay.mp4', 'comparison.png', 'table.txt'):
            (folder / name).unlink(missing_ok=True)


def run(arguments: Sequence[str], log: Path, label: str) -> None:
    """Show and run ``python <arguments>``; see :func:`run_step`."""
    print(f'\n$ {shlex.join([python_name(), *arguments])}', flush=True)
    run_step(arguments, ROOT, log, label)


def train(args: argparse.Namespace) -> Path:
    """Train from scratch for ``args.iters`` iterations; returns the checkpoint."""
    work_dir, iters = args.work_dir / 'train', args.iters
    run(
        [
            'tools/train.py',
            'configs/stt_r18_demo.py',
            '--no-validate',
            '--work-dir',
            str(work_dir),
            '--cfg-options',
            f'train_cfg.max_iters={iters}',
            f'param_scheduler.0.end={min(WARMUP, iters)}',
            f'param_scheduler.1.end={iters}',
            f'param_scheduler.1.T_max={iters}',
            f'default_hooks.checkpoint.interval={iters}',
            'default_hooks.logger.interval=2',
        ],
        args.work_dir / 'logs' / 'train.log',
        'training',
    )
    return work_dir / f'iter_{iters}.pth'


def evaluate(method: Method, args: argparse.Namespace) -> None:
    """Propagate the first masks of all videos and fill in the method's scores."""
    folder = args.work_dir / 'eval' / method.key
    run(
        [
            'tools/test.py',
            method.config,
            method.checkpoint,
            '--out',
            str(folder / 'result.json'),
            '--work-dir',
            str(folder),
            '--dump-masks',
            str(args.work_dir / 'masks' / method.key),
            '--cfg-options',
            f'test_dataloader.dataset.data_root={DAVIS}',
            f'model.propagator.protocol.short_side={SHORT_SIDE}',
            'default_hooks.logger.interval=1',
        ],
        args.work_dir / 'logs' / f'{method.key}.log',
        f'evaluating, {method.label}',
    )
    method.metrics = json.loads((folder / 'result.json').read_text(encoding='utf-8'))['metrics']
    print(f'{method.label}: J&F {100 * method.metrics["J&F-Mean"]:.1f}')


def table(methods: list[Method]) -> str:
    """One line per method, in percent."""
    width = max(len(method.label) for method in methods)
    best = max(methods, key=lambda method: method.metrics['J&F-Mean'])
    lines = [f'{"method":<{width}}{"J&F":>8}{"J":>8}{"F":>8}', '-' * (width + 24)]
    for method in methods:
        scores = (method.metrics[name] for name in ('J&F-Mean', 'J-Mean', 'F-Mean'))
        row = ''.join(f'{100 * score:8.1f}' for score in scores)
        lines.append(f'{method.label:<{width}}{row}{"   best" if method is best else ""}')
    return '\n'.join(lines)


def verdict(trained: Method, baselines: list[Method]) -> str:
    """What the short training achieved against each baseline, favourable or not."""
    # Differences of what the table shows, so that a reader can check them.
    scores = [round(100 * method.metrics['J&F-Mean'], 1) for method in (trained, *baselines)]
    gains = [round(scores[0] - score, 1) for score in scores[1:]]
    text = ' and '.join(
        f'{abs(gain):.1f} {"above" if gain > 0 else "below"} {method.label}'
        for gain, method in zip(gains, baselines, strict=True)
    )
    if min(gains) > 0:
        return f'The short training beats both baselines: J&F is {text}.'
    return (
        f'The short training does NOT beat every baseline: J&F is {text}. A few minutes of training are little; '
        'try more iterations (--iters).'
    )


def compare(args: argparse.Namespace) -> list[Method]:
    """Train, evaluate every method, print and write the table."""
    trained = Method(
        'trained', f'trained here, {args.iters} iterations', 'configs/eval/davis_r18_s8.py', str(train(args))
    )
    baselines = [
        Method('color', 'raw Lab colour', 'configs/eval/davis_color.py', 'none'),
        Method('untrained', 'untrained network', 'configs/eval/davis_r18_s8.py', 'none'),
    ]
    methods = [*baselines, trained, Method('shipped', 'shipped checkpoint', trained.config, 'stt_r18_demo')]
    for method in methods:
        evaluate(method, args)
    text = (
        f'Label propagation on {DAVIS}, short side {SHORT_SIDE}, in percent\n\n'
        f'{table(methods)}\n\n{verdict(trained, baselines)}'
    )
    print(f'\n{text}\nOne run on tiny videos: these numbers are no DAVIS scores.')
    (args.work_dir / 'table.txt').write_text(text + '\n', encoding='utf-8')
    return methods


def draw(methods: list[Method], args: argparse.Namespace) -> tuple[Path, Path]:
    """Write the overlay video of the best method and the picture of all methods."""

    def enlarged(mask_root: Path, name: str, scale: float) -> tuple:
        frame = read_image(ROOT / DAVIS / 'JPEGImages' / '480p' / video / f'{name}.jpg')
        size = (round(frame.shape[0] * scale), round(frame.shape[1] * scale))
        frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC)
        return frame, overlay(frame, resize_mask(read_mask(mask_root / video / f'{name}.png'), size))

    best = max(methods, key=lambda method: method.metrics['J&F-Mean'])
    masks = args.work_dir / 'masks'
    videos = sorted(path.name for path in (masks / best.key).iterdir() if path.is_dir())
    video = SHOWN if SHOWN in videos else videos[0]
    names = sorted(path.stem for path in (masks / best.key / video).glob('*.png'))
    with VideoWriter(args.work_dir / 'overlay.mp4', fps=8) as film:
        for name in names:
            film.write(np.hstack(enlarged(masks / best.key, name, 2)))

    some = [names[round(part * (len(names) - 1) / 3)] for part in range(4)]
    rows = [('human labels', [enlarged(ROOT / DAVIS / 'Annotations' / '480p', name, 1.5)[1] for name in some])]
    for method in methods:
        results = json.loads((args.work_dir / 'eval' / method.key / 'davis_results.json').read_text(encoding='utf-8'))
        label = f'{method.label}, J&F {100 * results["per_sequence"][video]["J&F-Mean"]:.1f} on this video'
        rows.append((label, [enlarged(masks / method.key, name, 1.5)[1] for name in some]))
    columns = [f'{video}, frame {int(name)}{" (given)" if name == names[0] else ""}' for name in some]
    return film.path, write_comparison(args.work_dir / 'comparison.png', rows, columns)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    os.chdir(ROOT)
    start = time.monotonic()
    with one_line_errors():
        if not DAVIS.is_dir() or not Path('demo/data/clips').is_dir():
            raise MissingInputError(f'demo/data is not complete in {ROOT}. Clone the whole repository.')
        prepare_work_dir(args.work_dir)
        methods = compare(args)
        film, picture = draw(methods, args)
    best = max(methods, key=lambda method: method.metrics['J&F-Mean'])
    print(f"""
overlay video ({best.label}): {film}
picture of all methods: {picture}
table, logs, masks: {args.work_dir}/

Finished in {(time.monotonic() - start) / 60:.1f} minutes. Next, in {ROOT}:
  {python_name()} tools/quickstart.py --iters 1000
  {python_name()} tools/train.py configs/stt_r18_demo.py --cfg-options train_dataloader.dataset.data_root=/my/videos
  {python_name()} tools/test.py configs/eval/davis_r18_s8.py CHECKPOINT --cfg-options \\
      test_dataloader.dataset.data_root=/my/DAVIS""")


if __name__ == '__main__':
    main()
