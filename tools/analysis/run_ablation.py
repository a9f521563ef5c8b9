"""Train a list of configs at a small scale with several seeds, evaluate each by label propagation, print one table."""

import argparse
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablation_report import Row, described, table, write_files
from mmengine.config import Config, ConfigDict
from mmengine.utils import ProgressBar

from stt_mm.engine import load_config
from stt_mm.engine.cli import one_line_errors
from stt_mm.engine.config import find_config
from stt_mm.utils.checkpoint import write_atomically

ROOT = Path(__file__).resolve().parents[2]
VIDEO_DATASETS = ('YouTubeVOS', 'VideoFolder')
EPILOG = """examples:
  python tools/analysis/run_ablation.py configs/ablations/table1_{reconstruction,pyramid,local,selection}_r18.py \\
      --data demo/data/clips --eval-data demo/data/davis --seeds 3 --iters 150 --untrained --work-dir work_dirs/table1
  python tools/analysis/run_ablation.py configs/stt_r18_ytv.py configs/ablations/teacher_r50_r18.py \\
      --data /my/videos --eval-data data/DAVIS --iters 5000 --size 256 --short-side 480 --max-frames 0

--data is any folder of videos or of folders of frames (VideoFolder), --eval-data a folder in the layout of DAVIS-2017.
The same command goes on where it was interrupted: a training at its last checkpoint, an evaluation at its next
video. The work directory gets <config>/seed<k>/ with config, log and result of each run, and table.md, runs.csv,
ablation.json and ablation.png. A config that starts from weights of stage 1 takes them from where it names them."""


class StepFailed(ValueError):
    """A training or an evaluation ended with an error; the message names its log."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='training configs, in the order of the table')
    parser.add_argument('--data', required=True, metavar='DIR', help='videos to train on')
    parser.add_argument('--eval-data', required=True, metavar='DIR', help='labelled videos in the layout of DAVIS-2017')
    parser.add_argument('--work-dir', type=Path, required=True, metavar='DIR', help='where everything is written')
    parser.add_argument('--seeds', type=int, default=3, metavar='N', help='seeds 0 to N - 1 (default: %(default)s)')
    parser.add_argument('--iters', type=int, default=150, metavar='N', help='iterations (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='clips (default: %(default)s)')
    parser.add_argument('--size', type=int, default=128, metavar='PIXELS',
                        help='side of the square training crops, a multiple of 8 (default: %(default)s)')
    parser.add_argument('--interval', type=int, nargs='+', default=[1, 2, 3], metavar='FRAMES',
                        help='distances of the two frames of a clip (default: 1 2 3)')
    parser.add_argument('--area', type=float, nargs=2, default=[0.1, 0.6], metavar=('LOW', 'HIGH'),
                        help='part of the frame that a crop covers (default: 0.1 0.6)')
    parser.add_argument('--aspect', type=float, nargs=2, default=[0.75, 1.5], metavar=('LOW', 'HIGH'),
                        help='width / height of a crop (default: 0.75 1.5)')
    parser.add_argument('--lr', type=float, help="learning rate at its peak (default: the config's)")
    parser.add_argument('--warmup', type=int, default=20, metavar='N', help='iterations (default: %(default)s)')
    parser.add_argument('--short-side', type=int, default=320, metavar='PIXELS',
                        help='shorter side of the evaluated frames (default: %(default)s)')
    parser.add_argument('--max-frames', type=int, default=25, metavar='N',
                        help='evaluate on the first N frames of each video, 0: on all (default: %(default)s)')
    parser.add_argument('--untrained', action='store_true',
                        help='first a row for the network of the first config before its training')
    args = parser.parse_args(argv)
    for name in ('seeds', 'iters', 'batch_size', 'size', 'short_side'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or larger, got {getattr(args, name)}')
    if args.size % 8:
        parser.error(f'--size must be a multiple of 8, got {args.size}')
    return args


def scaled(config: Path, args: argparse.Namespace) -> Config:
    """The config at the scale that the command line asks for; what is compared (model, losses) stays as it is.

    Raises:
        ValueError: it does not train by iterations on clips, or cannot be evaluated on DAVIS.
    """
    cfg = load_config(config)
    if cfg.get('train_cfg') is None or 'max_iters' not in cfg.train_cfg:
        raise ValueError(f'{config} has no train_cfg.max_iters: only configs that train by iterations can be scaled.')
    if cfg.model.get('propagator') is None or cfg.get('test_dataloader') is None:
        raise ValueError(f'{config} cannot be evaluated: it needs model.propagator and test_dataloader.')
    if not scale_loader(cfg.train_dataloader, args):
        raise ValueError(f'{config}: no dataset of train_dataloader is one of {", ".join(VIDEO_DATASETS)}.')
    cfg.train_cfg.max_iters = args.iters
    warmup = min(args.warmup, args.iters // 2)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=warmup),
        dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=args.iters, T_max=args.iters),
    ][0 if warmup else 1:]
    if args.lr is not None:
        cfg.optim_wrapper.optimizer.lr = args.lr
    cfg.default_hooks.checkpoint.update(interval=max(args.iters // 5, 1), max_keep_ckpts=1)
    cfg.default_hooks.logger.interval = max(args.iters // 50, 1)
    cfg.model.propagator.protocol.short_side = args.short_side
    cfg.test_dataloader.dataset.update(data_root=os.path.abspath(args.eval_data), max_frames=args.max_frames or None)
    return cfg


def scale_loader(node: Any, args: argparse.Namespace) -> int:
    """Put the clips, batch and crops of the command line into a (nest of) loaders; returns the number of datasets."""
    if isinstance(node, list | tuple):
        return sum(scale_loader(item, args) for item in node)
    if not isinstance(node, ConfigDict):
        return 0
    if 'dataset' in node and 'batch_size' in node:
        node.update(batch_size=args.batch_size, num_workers=1, pin_memory=False)
    if node.get('type') not in VIDEO_DATASETS:
        return sum(scale_loader(item, args) for item in node.values())
    pipeline = node.pipeline
    for step in pipeline:
        if step.type == 'ClipRandomResizedCrop':
            step.update(size=(args.size, args.size), area=tuple(args.area), aspect=tuple(args.aspect))
    node.clear()
    node.update(type='VideoFolder', data_root=os.path.abspath(args.data), clip_length=2, interval=tuple(args.interval),
                pipeline=pipeline)
    return 1


@contextmanager
def reserved(folder: Path, settings: dict[str, Any]) -> Iterator[int]:
    """Keep the work directory for this process and those it starts; yields the descriptor that they inherit.

    Raises:
        ValueError: it was made with other settings, or something is still at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f'{folder} is in use, by another run_ablation.py or by a step that outlived one. Wait '
                             'until it has ended, or give another --work-dir.') from None
        record = folder / 'settings.json'
        if record.is_file():
            before = json.loads(record.read_text(encoding='utf-8'))
            if changed := sorted(key for key in before.keys() | settings.keys()
                                 if before.get(key) != settings.get(key)):
                raise ValueError(f'{folder} was made with other settings ({", ".join(changed)}), see {record}. Give '
                                 'another --work-dir, or delete this one.')
        elif any(path.name != '.lock' for path in folder.iterdir()):
            raise ValueError(f'{folder} is not empty and was not made by run_ablation.py. Give another --work-dir.')
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
        child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, text=True, errors='replace',
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(lock, ))
        try:
            for line in child.stdout:
                file.write(line)
                file.flush()
                last = line.strip() or last
                if match := re.search(pattern, line):
                    done = int(match.group(1))
                    if bar is None:
                        bar, counted = ProgressBar(total - done), done
                    elif done > counted:
                        bar.update(done - counted)
                        counted = done
            code = child.wait()
        finally:
            # A step that is told to stop writes its checkpoint first.
            child.terminate()
            child.wait()
    print()
    if code:
        raise StepFailed(f'{arguments[0]} ended with code {code}: {last} The whole output: {log}. The same command '
                         'goes on from here.')


def finished(path: Path) -> dict[str, float] | None:
    """Metrics of a result file, if it is there."""
    return json.loads(path.read_text(encoding='utf-8'))['metrics'] if path.is_file() else None


def one_run(cfg: Config, folder: Path, seed: int, iters: int, lock: int) -> dict[str, float]:
    """Train (``iters`` of 0: do not) and evaluate one config with one seed; returns the metrics."""
    result = folder / 'result.json'
    if finished(result) is None:
        folder.mkdir(parents=True, exist_ok=True)
        cfg.dump(folder / 'config.py')
        checkpoint = folder / 'train' / f'iter_{iters}.pth' if iters else 'none'
        if iters and not checkpoint.is_file():
            run(['tools/train.py', str(folder / 'config.py'), '--work-dir', str(folder / 'train'), '--seed', str(seed),
                 '--resume', '--no-validate'], folder / 'train.log', iters, r'Iter\(train\) \[\s*(\d+)/', lock)
            if not checkpoint.is_file():
                raise StepFailed(f'The training wrote no {checkpoint}; see {folder / "train.log"}.')
        run(['tools/test.py', str(folder / 'config.py'), str(checkpoint), '--work-dir', str(folder / 'eval'), '--out',
             str(result), '--seed', str(seed), '--skip-done', '--cfg-options', 'default_hooks.logger.interval=1'],
            folder / 'eval.log', num_videos(cfg), r'Iter\(test\) \[\s*(\d+)/', lock)
    return finished(result)


def num_videos(cfg: Config) -> int:
    dataset = cfg.test_dataloader.dataset
    return len(Path(dataset.data_root, 'ImageSets', str(dataset.year), f'{dataset.split}.txt').read_text().split())


def run_all(args: argparse.Namespace, lock: int, say: Callable[[str], None] = print) -> list[Row]:
    """Every row with every seed; what is finished is not run again."""
    paths = [find_config(path) for path in args.configs]
    rows = [described(path) for path in paths]
    jobs = [(row, scaled(path, args), args.iters) for row, path in zip(rows, paths, strict=True)]
    if args.untrained:
        rows.insert(0, Row('untrained', 'untrained network'))
        jobs.insert(0, (rows[0], scaled(paths[0], args), 0))
    total, count = args.seeds * len(jobs), 0
    # A round of all rows per seed, so that an interrupted ablation has whole rounds.
    for seed in range(args.seeds):
        for row, cfg, iters in jobs:
            count += 1
            say(f'[{count}/{total}] {row.name}, seed {seed}')
            row.runs[seed] = one_run(cfg, args.work_dir.resolve() / row.name / f'seed{seed}', seed, iters, lock)
            say(f'    J&F {100 * row.runs[seed]["J&F-Mean"]:.1f}')
    return rows


def stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, stop)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()
                if key != 'work_dir'}
    try:
        with one_line_errors():
            names = [find_config(path).stem for path in args.configs]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f'Two configs are called {", ".join(twice)}; rows are told apart by the file name.')
            with reserved(args.work_dir, settings) as lock:
                rows = run_all(args, lock)
                write_files(args.work_dir, rows, settings)
    except KeyboardInterrupt:
        print('\nStopped. The same command goes on from here.', file=sys.stderr)
        sys.exit(130)
    print(f'\n{table(rows)}\n\nMean ± standard deviation over {args.seeds} seeds, in percent. Files: {args.work_dir}/')


if __name__ == '__main__':
    main()
