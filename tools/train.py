"""Train a model."""

import argparse
import logging
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from stt_mm.engine import (
    RunLog,
    check_queue,
    enable_amp,
    finish_runtime,
    load_config,
    prepare_runtime,
    run_log,
    trusted_path,
    values_of,
)
from stt_mm.engine.cli import (
    add_weight_arguments,
    merge_run_arguments,
    one_line_errors,
    parse_run_arguments,
    process_rank,
    tool_parser,
)
from stt_mm.engine.config_checks import check_validation
from stt_mm.errors import FileError, InputError
from stt_mm.registry import RUNNERS
from stt_mm.utils.checkpoint import latest_checkpoint, read_checkpoint, require_resumable, training_files
from stt_mm.utils.targets import alone_in, check_apart, make_folder
from stt_mm.utils.weights import check_finite

logger = logging.getLogger('stt_mm.train')
EXAMPLES = """examples:
  python tools/train.py configs/stt_r18_ytv.py
  python tools/train.py configs/stt_r18_ytv.py --resume            (continue the run in its work directory)
  python tools/train.py configs/pretrain/mocov2_r18_in1k.py        (stage 1)
  python tools/train.py configs/stt_r18_ytv.py --amp --cfg-options train_dataloader.batch_size=16
  tools/dist_train.sh configs/stt_r18_ytv.py 4 --auto-scale-lr     (four GPUs)

The checkpoints, the log and the merged config go to the work directory. Ctrl-C and SIGTERM save a checkpoint after the
current iteration and end the run. STT_MM_TRACEBACK=1 in the environment shows the traceback behind an "error:" line."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|PATH',
        help='continue from PATH, a file iter_<N>.pth; auto, or no value, takes the newest readable checkpoint in the '
        'work directory, or starts from scratch if there is none',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='remove the checkpoints of an earlier training once the first iteration is done',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: scaled float16 on CUDA, bfloat16 on the CPU'
    )
    parser.add_argument('--no-validate', action='store_true', help='do not validate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='multiply the learning rate by (batch size x processes) / auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--compile', action='store_true', help='compile the loss with torch.compile')
    add_weight_arguments(parser, ['trust-checkpoint'])
    return parse_run_arguments(parser, argv)


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Write the command line's wishes into the config."""
    merge_run_arguments(cfg, args)
    if args.no_validate:
        for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
            cfg.pop(key, None)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise InputError(f'--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in {cfg.filename}.')
        cfg.auto_scale_lr.enable = True
    if args.compile:
        cfg.compile = True
    if args.amp:
        enable_amp(cfg)


def choose_start(cfg: Config, resume: str | None, trust: bool, seed: int | None = None) -> int | None:
    """Set ``resume``, ``load_from`` and the seed of the config; what is named has been read and is fine.

    Returns:
        The iteration of the file that was named to go on from; ``None`` for the newest one, or for a new training.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    scheduled = bool(cfg.get('param_scheduler'))
    if resume == 'auto':
        start = latest_checkpoint(cfg.work_dir, trust=trust, scheduled=scheduled)
        cfg.resume = start is not None
        if process_rank() == 0:
            news = (
                f'continuing from {start}'
                if cfg.resume
                else f'no readable checkpoint in {cfg.work_dir}, training starts from scratch'
            )
            logger.info('--resume auto: %s.', news)
        start = start or cfg.get('load_from')
    elif resume is not None:
        cfg.resume, start = True, resume
    else:
        start = cfg.get('load_from')
    if start and '://' in str(start) and not trust:
        raise InputError(
            f'load_from={start} would be read without a look at what is in it, which can run code from '
            'the file. Download it and name the file, or pass --trust-checkpoint if you trust its origin.'
        )
    iteration = None
    if start and '://' not in str(start):
        checkpoint = read_checkpoint(start, trust=trust)
        if cfg.get('resume'):
            require_resumable(checkpoint, Path(start), scheduled)
            check_finite(checkpoint['state_dict'], start, 'Go on from an earlier checkpoint.')
            keep_seed(cfg, checkpoint['meta'].get('seed'), start, seed)
            done, length = checkpoint['meta']['iter'], cfg.train_cfg.get('max_iters') if cfg.get('train_cfg') else None
            if length is not None and done >= length and process_rank() == 0:
                logger.info('%s is of iteration %d: nothing is left of the %d of the config.', start, done, length)
            iteration = None if resume == 'auto' else done
        # Files of safetensors, which hold no code, MMEngine would not know how to read.
        start = trusted_path(start) if trust or Path(start).suffix == '.safetensors' else str(start)
    cfg.load_from = start
    return iteration


def keep_seed(cfg: Config, seed: int | None, start: str | Path, told: int | None) -> None:
    """Let a training that goes on have its seed, which decides its data; one that was ``told`` must be the same."""
    if seed is None:
        return
    if told not in (None, seed):
        raise InputError(
            f'{start} is from a training with seed {seed}, not {told}: its data would not be those that follow. Leave '
            f'out --seed, or start a new training from its weights with --cfg-options load_from={start}.'
        )
    randomness = cfg.get('randomness') or {}
    if randomness.get('seed') not in (None, seed) and process_rank() == 0:
        logger.info('The seed is that of %s, %d, not the %d of the config.', start, seed, randomness['seed'])
    cfg.randomness = dict(randomness, seed=seed)


class ReplaceEarlier(Hook):
    """Removes the files of an earlier training, and writes the config, once an iteration of the new one went well."""

    priority = 'VERY_HIGH'

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.done = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Do it, in the first process, before anything else is written."""
        if self.done:
            return
        self.done = True
        runner.write_config()
        if runner.rank == 0:
            for path in self.files:
                path.unlink(missing_ok=True)


def files_in_the_way(cfg: Config, overwrite: bool, iteration: int | None = None) -> list[Path]:
    """The checkpoints in the work directory that are not this training's; refused unless they may be removed.

    Args:
        cfg: with ``resume`` and ``load_from`` as chosen.
        overwrite: whether they may.
        iteration: of the file that was named to go on from, if one was: later ones of its folder are of another branch.
    """
    folder, source = Path(cfg.work_dir), Path(str(cfg.get('load_from')).removeprefix('trusted:'))
    best, files, what = training_files(folder, best=True), training_files(folder), 'checkpoints of an earlier training'
    if cfg.get('resume') and iteration is None:
        return []
    if cfg.get('resume') and source.resolve().parent == folder.resolve():
        best, files = ({path: n for path, n in found.items() if n > iteration} for found in (best, files))
        # A best file alone may be of a validation after the last checkpoint, which comes again.
        best, what = best if files else {}, f'later checkpoints than {source.name}'
    earlier = [*best, *reversed(files)]
    if not earlier:
        return []
    if not overwrite:
        way = 'Go on from the newest by --resume without a file, keep them' if files else 'Keep them'
        raise FileError(
            f'{folder} holds {what}, such as {earlier[-1].name}. {way} by another --work-dir, or add --overwrite to '
            'remove them.'
        )
    if source.is_file() and any(path.samefile(source) for path in earlier):
        raise FileError(f'The training starts from {source}, which --overwrite would remove. Take another --work-dir.')
    return [*earlier, folder / 'last_checkpoint']


def train(cfg: Config, log: RunLog, earlier: list[Path]) -> None:
    """Train in this process; nothing of the run is alive when it returns."""
    make_folder(cfg.work_dir)
    with alone_in(cfg.work_dir, 'training') if process_rank() == 0 else nullcontext():
        runner = RUNNERS.build(cfg)
        runner.register_hook(ReplaceEarlier(earlier))
        log.attach(runner)
        check_queue(cfg, runner.world_size)
        runner.train()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors(), run_log() as log:
        cfg = load_config(args.config, args.cfg_options)
        for key in ('model', 'train_cfg', 'train_dataloader', 'optim_wrapper'):
            if cfg.get(key) is None:
                raise InputError(f'{cfg.filename} is no training config: it has no {key}.')
        merge_args(cfg, args)
        check_validation(cfg)
        check_apart(
            cfg.work_dir, values_of([cfg.train_dataloader, cfg.train_cfg, cfg.get('val_dataloader')], 'data_root')
        )
        iteration = choose_start(cfg, args.resume, args.trust_checkpoint, args.seed)
        earlier = files_in_the_way(cfg, args.overwrite, iteration)
        prepare_runtime(cfg, args.launcher)
        try:
            train(cfg, log, earlier)
        except SystemExit as stop:
            traceback.clear_frames(stop.__traceback__)
            finish_runtime(together=False)
            raise
        finish_runtime()


if __name__ == '__main__':
    main()
