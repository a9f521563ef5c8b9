"""Train a list of configs at a small scale with several seeds, evaluate each by label propagation, print one table."""

import argparse
import fcntl
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablation_report import Row, described, table, write_files
from mmengine.config import Config

from stt_mm.datasets.davis import read_davis_list
from stt_mm.engine import load_config
from stt_mm.engine.cli import Progress, one_line_errors
from stt_mm.engine.config import find_config
from stt_mm.errors import InputError, SttMMError
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.targets import check_apart
from stt_mm.utils.text import read_json

ROOT = Path(__file__).resolve().parents[2]
VIDEOS = ('YouTubeVOS', 'VideoFolder')
IMAGES = ('ImageFolder',)
UNTRAINED = 'untrained'
EPILOG = """examples:
  python tools/analysis/run_ablation.py configs/ablations/table1_{reconstruction,pyramid,local}_r18.py \\
      configs/stt/stt_r18_ytv_temporal.py --data demo/data/clips --eval-data demo/data/davis --seeds 3 --iters 150 \\
      --untrained --work-dir work_dirs/table1
  python tools/analysis/run_ablation.py configs/pretrain/mocov2_r18_in1k.py::configs/eval/davis_spatial_r18_rgb.py \\
      configs/{stt/stt_r18_ytv_temporal,continual/joint_r18_ytv,stt/stt_r18_ytv_no_global,stt_r18_ytv}.py \\
      --data /my/frames --provide STT_STAGE1_R18=mocov2_r18_in1k --eval-data data/DAVIS --iters 5000 --size 256 \\
      --short-side 480 --max-frames 0 --work-dir work_dirs/table2

--data is any folder of videos or of folders of frames (for stage 1: of frames), --eval-data a folder in the layout of
DAVIS-2017. The same command goes on where it was interrupted: a training at its last checkpoint, an evaluation at its
next video. The work directory gets <config>/seed<k>/ with configs, logs and result of each run, and table.md, runs.csv,
ablation.json and ablation.png. A config that starts from weights of stage 1 takes them from where it names them, or,
with --provide, from an earlier row."""


class StepFailed(SttMMError):
    """A training or an evaluation ended with an error; the message names its log."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='training configs, in the order of the table; TRAIN::EVAL names another config for the '
        'evaluation, as those of stage 1 need it',
    )
    parser.add_argument('--data', required=True, metavar='DIR', help='videos to train on')
    parser.add_argument('--eval-data', required=True, metavar='DIR', help='labelled videos in the layout of DAVIS-2017')
    parser.add_argument('--work-dir', type=Path, required=True, metavar='DIR', help='where everything is written')
    parser.add_argument('--seeds', type=int, default=3, metavar='N', help='seeds 0 to N - 1 (default: %(default)s)')
    parser.add_argument('--iters', type=int, default=150, metavar='N', help='iterations (default: %(default)s)')
    parser.add_argument(
        '--image-iters',
        type=int,
        metavar='N',
        help='iterations of the configs that train on images alone (default: --iters)',
    )
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='clips (default: %(default)s)')
    parser.add_argument('--image-batch-size', type=int, metavar='N', help='images (default: --batch-size)')
    parser.add_argument(
        '--size',
        type=int,
        default=128,
        metavar='PIXELS',
        help='side of the square training crops, a multiple of 8 (default: %(default)s)',
    )
    parser.add_argument(
        '--interval',
        type=int,
        nargs='+',
        default=[1, 2, 3],
        metavar='FRAMES',
        help='distances of the two frames of a clip (default: 1 2 3)',
    )
    parser.add_argument(
        '--area',
        type=float,
        nargs=2,
        default=[0.1, 0.6],
        metavar=('LOW', 'HIGH'),
        help='part of the frame that a crop covers (default: 0.1 0.6)',
    )
    parser.add_argument(
        '--aspect',
        type=float,
        nargs=2,
        default=[0.75, 1.5],
        metavar=('LOW', 'HIGH'),
        help='width / height of a crop (default: 0.75 1.5)',
    )
    parser.add_argument(
        '--lr', type=float, help="learning rate at its peak of the configs that train on videos (default: the config's)"
    )
    parser.add_argument('--warmup', type=int, default=20, metavar='N', help='iterations (default: %(default)s)')
    parser.add_argument(
        '--short-side',
        type=int,
        default=320,
        metavar='PIXELS',
        help='shorter side of the evaluated frames (default: %(default)s)',
    )
    parser.add_argument(
        '--max-frames',
        type=int,
        default=25,
        metavar='N',
        help='evaluate on the first N frames of each video, 0: on all (default: %(default)s)',
    )
    parser.add_argument(
        '--provide',
        type=provision,
        nargs='+',
        default=[],
        metavar='VARIABLE=CONFIG',
        help='environment variables that name the weights which the row of a config (its name without '
        'folder and ending) has trained with the same seed, such as STT_STAGE1_R18=mocov2_r18_in1k',
    )
    parser.add_argument(
        '--untrained', action='store_true', help='first a row for the network of the first config before its training'
    )
    args = parser.parse_args(argv)
    args.provide = dict(args.provide)
    args.image_iters = args.iters if args.image_iters is None else args.image_iters
    args.image_batch_size = args.batch_size if args.image_batch_size is None else args.image_batch_size
    for name in ('seeds', 'iters', 'image_iters', 'batch_size', 'image_batch_size', 'size', 'short_side'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or larger, got {getattr(args, name)}')
    for name in ('max_frames', 'warmup'):
        if getattr(args, name) < 0:
            parser.error(f'--{name.replace("_", "-")} must be 0 or larger, got {getattr(args, name)}')
    if min(args.interval) < 1:
        parser.error(f'--interval must be 1 or larger, got {min(args.interval)}')
    for name, most in (('area', 1), ('aspect', math.inf)):
        low, high = getattr(args, name)
        if not 0 < low <= high <= most or math.isinf(high):
            parser.error(f'--{name} must rise from above 0{" to at most 1" if most == 1 else ""}, got {low:g} {high:g}')
    if args.lr is not None and not 0 < args.lr < math.inf:
        parser.error(f'--lr must be a number above 0, got {args.lr}')
    if args.size % 8:
        parser.error(f'--size must be a multiple of 8, got {args.size}')
    return args


def scaled(config: Path, args: argparse.Namespace) -> Config:
    """A training config at the scale that the command line asks for; what is compared (model, losses) stays as it is.

    Raises:
        ValueError: it does not train by iterations on clips or images.
    """
    cfg = load_config(config)
    if cfg.get('train_cfg') is None or 'max_iters' not in cfg.train_cfg:
        raise InputError(f'{config} has no train_cfg.max_iters: only configs that train by iterations can be scaled.')
    kinds = scale_loaders([cfg.train_dataloader, cfg.train_cfg], args)
    if not kinds:
        raise InputError(f'{config}: no dataset of its loaders is one of {", ".join((*VIDEOS, *IMAGES))}.')
    on_videos = bool(kinds & set(VIDEOS))
    iters = args.iters if on_videos else args.image_iters
    cfg.train_cfg.max_iters = iters
    warmup = min(args.warmup, iters // 2)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=warmup),
        dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=iters, T_max=iters),
    ][0 if warmup else 1 :]
    if args.lr is not None and on_videos:
        cfg.optim_wrapper.optimizer.lr = args.lr
    cfg.default_hooks.checkpoint.update(interval=max(iters // 5, 1), max_keep_ckpts=1)
    cfg.default_hooks.logger.interval = max(iters // 50, 1)
    return cfg


def scale_loaders(node: Any, args: argparse.Namespace) -> set[str]:
    """Put data, batch and crops of the command line into a nest of loaders; returns the kinds of datasets found."""
    if isinstance(node, list | tuple):
        if mosaics := [item for item in node if kind_of(item) == 'JigsawMosaic']:
            return scale_patches(node, mosaics[0], args.size)
        return set().union(*(scale_loaders(item, args) for item in node))
    if not isinstance(node, dict):
        return set()
    kind = kind_of(node)
    if 'dataset' in node and 'batch_size' in node:
        of_images = kind_of(node['dataset']) in IMAGES
        node.update(batch_size=args.image_batch_size if of_images else args.batch_size, num_workers=1, pin_memory=False)
    if kind == 'ClipRandomResizedCrop':
        node.update(size=(args.size, args.size), area=tuple(args.area), aspect=tuple(args.aspect))
    elif kind == 'RandomResizedCrop':
        node.update(scale=args.size, crop_ratio_range=tuple(args.area))
    found = set().union(*(scale_loaders(item, args) for item in node.values()))
    if kind in VIDEOS:
        pipeline = node['pipeline']
        node.clear()
        node.update(
            type='VideoFolder',
            data_root=os.path.abspath(args.data),
            clip_length=2,
            interval=tuple(args.interval),
            pipeline=pipeline,
        )
    elif kind in IMAGES:
        node['data_root'] = os.path.abspath(args.data)
    return found | ({kind} & {*VIDEOS, *IMAGES})


def kind_of(node: Any) -> str:
    """The type that a config names, without the scope that names of mmpretrain come with."""
    return str(node.get('type')).rpartition('.')[2] if isinstance(node, dict) else ''


def scale_patches(view: list, mosaic: dict, size: int) -> set[str]:
    """Shrink DetCo's local view as much as the global one of 224 pixels; the part of the image it covers stays."""
    crop = next(item for item in view if kind_of(item) == 'RandomResizedCrop')
    cell = round(crop['scale'] / mosaic['grid'] * size / 224)
    mosaic['patch_size'] = round(mosaic['patch_size'] * size / 224)
    crop['scale'] = mosaic['grid'] * cell
    return set()


def evaluated(config: Path, args: argparse.Namespace) -> Config:
    """A config that evaluates on the labelled videos of the command line.

    Raises:
        ValueError: it cannot evaluate on DAVIS.
    """
    cfg = load_config(config)
    if cfg.model.get('propagator') is None or cfg.get('test_dataloader') is None:
        raise InputError(
            f'{config} cannot be evaluated: it needs model.propagator and test_dataloader. Name a config '
            f'that evaluates what it trains: {config}::configs/eval/davis_spatial_r18_rgb.py'
        )
    if cfg.test_dataloader.dataset.type != 'DAVIS':
        raise InputError(f'{config} evaluates on {cfg.test_dataloader.dataset.type}; the table is for DAVIS.')
    cfg.model.propagator.protocol.short_side = args.short_side
    cfg.test_dataloader.dataset.update(data_root=os.path.abspath(args.eval_data), max_frames=args.max_frames or None)
    cfg.default_hooks.logger.interval = 1
    return cfg


@contextmanager
def reserved(folder: Path, settings: dict[str, Any]) -> Iterator[int]:
    """Keep the work directory for this process and those it starts; yields the descriptor that they inherit.

    Raises:
        ValueError: it was made with other settings, or something is still at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'a') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f'{folder} is in use, by another run_ablation.py or by a step that outlived one. Wait '
                'until it has ended, or give another --work-dir.'
            ) from None
        record = folder / 'settings.json'
        if record.is_file():
            before = read_json(record)
            if not isinstance(before, dict):
                raise InputError(f'{record} holds no settings. Give another --work-dir, or delete this one.')
            if changed := sorted(
                key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key)
            ):
                raise InputError(
                    f'{folder} was made with other settings ({", ".join(changed)}), see {record}. Give '
                    'another --work-dir, or delete this one.'
                )
        elif any(path.name != '.lock' for path in folder.iterdir()):
            raise InputError(f'{folder} is not empty and was not made by run_ablation.py. Give another --work-dir.')
        write_atomically((json.dumps(settings, indent=2) + '\n').encode(), record)
        yield lock.fileno()


def run(arguments: list[str], log: Path, total: int, pattern: str, lock: int) -> None:
    """Run ``python <arguments>`` at the root, its output into a log, its steps (``pattern``) onto a progress bar.

    Raises:
        StepFailed: it ended with an error.
    """
    environment = {'OMP_WAIT_POLICY': 'PASSIVE', **os.environ, 'PYTHONUNBUFFERED': '1'}
    bar, last = None, ''
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'a', encoding='utf-8') as file:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            errors='replace',
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
        )
        try:
            for line in child.stdout:
                file.write(line)
                file.flush()
                last = line.strip() or last
                if match := re.search(pattern, line):
                    done = int(match.group(1))
                    if bar is None:
                        bar, counted = Progress(total - done), done
                    elif done > counted:
                        bar.update(done - counted)
                        counted = done
            code = child.wait()
        finally:
            # A step that is told to stop writes its checkpoint first.
            child.terminate()
            child.wait()
    Progress.end_line()
    if code:
        raise StepFailed(
            f'{arguments[0]} ended with code {code}: {last} The whole output: {log}. The same command '
            'goes on from here.'
        )


def config_pair(text: str) -> tuple[Path, Path]:
    """The config that trains a row and the one that evaluates it, from ``TRAIN`` or ``TRAIN::EVAL``."""
    train, _, evaluation = text.partition('::')
    return find_config(train), find_config(evaluation or train)


def check_rows(args: argparse.Namespace) -> None:
    """Rows are told apart by the names of their configs; what provides weights must come before its users.

    Raises:
        ValueError: two rows have one name, no row has the name of a provider, or that row comes too late.
    """
    names = [paths[0].stem for paths in args.configs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f'Two configs are called {", ".join(twice)}; rows are told apart by the file name.')
    if unknown := sorted(set(args.provide.values()) - set(names)):
        raise InputError(f'--provide names {", ".join(unknown)}; the rows are {", ".join(names)}.')
    for number, (name, (train, _)) in enumerate(zip(names, args.configs, strict=True)):
        marks = {variable: f'weights of {provider}' for variable, provider in args.provide.items() if provider != name}
        with environment(marks):
            text = repr(load_config(train).to_dict())
        for provider in args.provide.values():
            if f"'weights of {provider}'" in text and provider not in names[:number]:
                raise InputError(f'{name} starts from the weights of {provider}: name {provider} before it.')


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for this process and those it starts, for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def fingerprint(paths: tuple[Path, Path]) -> str:
    """Changes when the config that trains a row, or the one that evaluates it, changes."""
    text = repr([load_config(path).to_dict() for path in paths])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def provision(text: str) -> tuple[str, str]:
    variable, equals, name = text.partition('=')
    if not (variable and equals and name):
        raise argparse.ArgumentTypeError(f'expected VARIABLE=CONFIG, got {text!r}')
    return variable, name


def finished(path: Path) -> dict[str, float] | None:
    """Metrics of a result file, if it is there."""
    return read_json(path)['metrics'] if path.is_file() else None


def one_run(
    row: Row, paths: tuple[Path, Path], seed: int, args: argparse.Namespace, lengths: dict[str, int], lock: int
) -> None:
    """Train (not the untrained row) and evaluate one row with one seed, unless that is done; fills in the metrics.

    Args:
        row: the line of the table.
        paths: the config that trains and the one that evaluates.
        seed: of training and evaluation.
        args: of the command line.
        lengths: iterations of every row, by its name.
        lock: see :func:`run`.
    """
    folders = {name: args.work_dir.resolve() / name / f'seed{seed}' for name in (row.name, *lengths)}
    checkpoints = {name: folders[name] / 'train' / f'iter_{iters}.pth' for name, iters in lengths.items()}
    folder, weights = folders[row.name], checkpoints.get(row.name)
    result = folder / 'result.json'
    provided = {variable: str(checkpoints[name]) for variable, name in args.provide.items() if name != row.name}
    if finished(result) is None:
        folder.mkdir(parents=True, exist_ok=True)
        # The configs are written with the names of the provided weights in them.
        with environment(provided):
            scaled(paths[0], args).dump(folder / 'train.py')
            cfg = evaluated(paths[1], args)
            cfg.dump(folder / 'eval.py')
        if weights is not None and not weights.is_file():
            run(
                [
                    'tools/train.py',
                    str(folder / 'train.py'),
                    '--work-dir',
                    str(weights.parent),
                    '--seed',
                    str(seed),
                    '--resume',
                    '--no-validate',
                ],
                folder / 'train.log',
                lengths[row.name],
                r'Iter\(train\) \[\s*(\d+)/',
                lock,
            )
            if not weights.is_file():
                raise StepFailed(f'The training wrote no {weights}; see {folder / "train.log"}.')
        run(
            [
                'tools/test.py',
                str(folder / 'eval.py'),
                'none' if weights is None else str(weights),
                '--work-dir',
                str(folder / 'eval'),
                '--out',
                str(result),
                '--seed',
                str(seed),
                '--skip-done',
            ],
            folder / 'eval.log',
            num_videos(cfg),
            r'Iter\(test\) \[\s*(\d+)/',
            lock,
        )
    row.runs[seed] = finished(result)


def num_videos(cfg: Config) -> int:
    dataset = cfg.test_dataloader.dataset
    return len(read_davis_list(Path(dataset.data_root, 'ImageSets', str(dataset.year), f'{dataset.split}.txt')))


def run_all(args: argparse.Namespace, lock: int) -> list[Row]:
    """Every row with every seed; what is finished is not run again."""
    jobs = [(described(paths[0]), paths) for paths in args.configs]
    lengths = {row.name: scaled(train, args).train_cfg.max_iters for row, (train, _) in jobs}
    if args.untrained:
        jobs.insert(0, (Row(UNTRAINED, 'untrained network'), jobs[0][1]))
    total, count = args.seeds * len(jobs), 0
    # A round of all rows per seed, so that an interrupted ablation has whole rounds.
    for seed in range(args.seeds):
        for row, paths in jobs:
            count += 1
            print(f'[{count}/{total}] {row.name}, seed {seed}', flush=True)
            one_run(row, paths, seed, args, lengths, lock)
            print(f'    J&F {100 * row.runs[seed]["J&F-Mean"]:.1f}', flush=True)
    return [row for row, _ in jobs]


def stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        try:
            check_apart(args.work_dir, [args.data, args.eval_data])
            settings = {key: value for key, value in vars(args).items() if key != 'work_dir'}
            args.configs = [config_pair(text) for text in args.configs]
            check_rows(args)
            # Faults of a config and of the data are told before anything is written.
            for train, evaluation in args.configs:
                scaled(train, args)
                num_videos(evaluated(evaluation, args))
            settings['sha8'] = [fingerprint(paths) for paths in args.configs]
            with reserved(args.work_dir, settings) as lock:
                rows = run_all(args, lock)
                write_files(args.work_dir, rows, settings)
        except KeyboardInterrupt:
            print('\nStopped. The same command goes on from here.', file=sys.stderr)
            sys.exit(130)
    print(f'\n{table(rows)}\n\nMean ± standard deviation over {args.seeds} seeds, in percent. Files: {args.work_dir}/')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, stop)
    main()
