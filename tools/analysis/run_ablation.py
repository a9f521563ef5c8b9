"""Train and score configs at a small scale with several seeds, in one table."""

import argparse
import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablation_report import Row, described, table, write_files
from mmengine.config import Config

from stt_mm.engine import load_config, values_of
from stt_mm.engine.cli import add_config_options, between, one_line_errors, option_value, tool_parser
from stt_mm.engine.config import check_keys, override
from stt_mm.engine.config_checks import check_components
from stt_mm.engine.steps import keep_config, reserved, run_step
from stt_mm.errors import InputError
from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_count
from stt_mm.utils.config_path import config_path
from stt_mm.utils.targets import check_apart
from stt_mm.utils.text import read_json

ROOT = Path(__file__).resolve().parents[2]
UNTRAINED = 'untrained'
EPILOG = """examples:
  python tools/analysis/run_ablation.py configs/ablations/table1_{reconstruction,pyramid,local}_r18.py \\
      configs/stt/stt_r18_ytv_temporal.py --seeds 3 --iters 150 --untrained --work-dir work_dirs/table1
  python tools/analysis/run_ablation.py \\
      configs/pretrain/mocov2_r18_demo.py::configs/eval/davis_spatial_r18_rgb.py train_dataloader.batch_size=16 \\
      configs/stt/stt_r18_ytv_{temporal,no_global}.py configs/stt_r18_ytv.py --data /my/frames \\
      --provide STT_STAGE1_R18=mocov2_r18_demo --eval-data data/DAVIS --iters 5000 --work-dir work_dirs/table2
  python tools/analysis/run_ablation.py configs/liir/liir_r18_demo_warmup.py@warmup \\
      configs/liir/liir_r18_demo.py@liir model.backbone.init_cfg.checkpoint=@warmup \\
      configs/liir/liir_r18_demo.py@alone model.backbone.init_cfg.checkpoint=@warmup model.negatives=None \\
      --scale liir_r18_demo_warmup --work-dir work_dirs/liir_ablation

A config that trains on YouTube-VOS keeps its model and gets training data, optimizer and length from --scale, then
from --cfg-options. Any other config, such as a demo, is used as it is. All rows have the schedule of --scale,
stretched to their iterations, and are scored on its videos.

KEY=VALUE after a config changes that row alone; changes to the model also apply to its evaluation, unless
TRAIN::EVAL names another config. CONFIG@NAME names a row, so that one config can appear in several. KEY=@NAME is the
checkpoint that an earlier row trained with the same seed; --provide gives it to a config that takes weights from a
variable.

To continue after an interruption, run the same command again: trainings go on from their last checkpoint,
evaluations at their next video. The work directory gets table.md, runs.csv and ablation.png, and <config>/seed<k>/
with the configs, logs and result of each run."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG[@NAME] [KEY=VALUE ...]',
        help='training configs, in the order of the table; TRAIN::EVAL names another config for the '
        'evaluation, which configs of stage 1 need',
    )
    parser.add_argument('--work-dir', type=Path, required=True, metavar='DIR', help='where everything is written')
    parser.add_argument(
        '--scale',
        default='stt_r18_demo',
        metavar='CONFIG',
        help='config that says what rows are trained and evaluated on, and how long',
    )
    parser.add_argument('--data', metavar='DIR', help='videos to train on (default: those of the configs)')
    parser.add_argument(
        '--eval-data', metavar='DIR', help='labelled videos in the layout of DAVIS-2017 (default: those of --scale)'
    )
    parser.add_argument('--seeds', type=between(1), default=3, metavar='N', help='number of seeds, from 0')
    parser.add_argument('--iters', type=between(1), metavar='N', help='iterations of all rows (default: their own)')
    for name, what in (('cfg', 'training of the rows on YouTube-VOS'), ('eval', 'evaluation of all rows')):
        add_config_options(parser, f'--{name}-options', f'override config values in the {what}')
    parser.add_argument(
        '--provide',
        type=provision,
        nargs='+',
        default=[],
        metavar='VARIABLE=CONFIG',
        help='set environment variables to the checkpoints that earlier rows trained with the same seed; a row is '
        'named by its config, without folder and ending, as in STT_STAGE1_R18=mocov2_r18_demo',
    )
    parser.add_argument(
        '--untrained', action='store_true', help='begin with a row for the untrained network of the first config'
    )
    args = parser.parse_args(argv)
    args.provide = dict(args.provide)
    if '=' in args.configs[0]:
        parser.error(f'{args.configs[0]} stands before the first config')
    return args


def provision(text: str) -> tuple[str, str]:
    variable, equals, name = text.partition('=')
    if not (variable and equals and name):
        raise argparse.ArgumentTypeError(f'expected VARIABLE=CONFIG, got {text!r}')
    return variable, name


class Job:
    """A row of the table, ``TRAIN`` or ``TRAIN::EVAL``, with ``@NAME`` or not, and what the command line changes."""

    def __init__(self, text: str, args: argparse.Namespace) -> None:
        named = re.fullmatch(r'(.+)@([\w-]+)', text)
        train, _, evaluation = (named[1] if named else text).partition('::')
        self.train, self.eval = config_path(train), config_path(evaluation or train)
        self.row = Row(named[2], named[2].replace('_', ' ')) if named else described(self.train)
        self.options: dict = {}
        # Keys that are the weights of an earlier row, and its name.
        self.starts: dict[str, str] = {}
        # Whether data and optimizer are those of the scale.
        self.scaled = False
        self.args = args

    def add(self, key: str, value: str) -> None:
        """Take ``KEY=VALUE`` of the command line."""
        if value.startswith('@'):
            self.starts[key] = value[1:]
        else:
            self.options[key] = option_value(value)

    def training(self, weights: Mapping[str, Path | str]) -> Config:
        """The config of the training at its scale; ``weights`` are those of earlier rows, by name."""
        cfg, scale, args = load_config(self.train), load_config(self.args.scale), self.args
        if (cfg.get('train_cfg') or {}).get('max_iters') is None:
            raise InputError(f'{self.train} has no train_cfg.max_iters: only configs that train by iterations can run.')
        self.scaled = cfg.train_dataloader.dataset.type == 'YouTubeVOS'
        if self.scaled:
            cfg.train_dataloader, cfg.optim_wrapper = scale.train_dataloader, scale.optim_wrapper
            cfg.train_cfg.max_iters = scale.train_cfg.max_iters
        cfg.train_cfg.max_iters = args.iters or cfg.train_cfg.max_iters
        cfg.param_scheduler = scale.param_scheduler
        loaders = [cfg.train_dataloader, cfg.train_cfg.get('image_dataloader')]
        for loader in filter(None, loaders) if args.data else ():
            loader.dataset.data_root = os.path.abspath(args.data)
        override(cfg, args.cfg_options if self.scaled else None)
        override(cfg, self.options | {key: str(weights[name]) for key, name in self.starts.items()})
        iters = cfg.train_cfg.max_iters
        check_count('train_cfg.max_iters', iters)
        for part in cfg.param_scheduler:
            for key in part.keys() & {'end', 'T_max'}:
                whole = part[key] == scale.train_cfg.max_iters
                part[key] = iters if whole else max(min(part[key], iters // 2), 1)
            if 'milestones' in part:
                part.milestones = [step * iters // scale.train_cfg.max_iters for step in part.milestones]
        cfg.default_hooks.checkpoint.update(interval=max(iters // 5, 1), max_keep_ckpts=1)
        cfg.default_hooks.logger.interval = max(iters // 50, 1)
        return checked(cfg)

    def evaluation(self) -> Config:
        """The config of the evaluation on the labelled videos."""
        cfg, scale, args = load_config(self.eval), load_config(self.args.scale), self.args
        if cfg.model.get('propagator') is None or cfg.get('test_dataloader') is None:
            raise InputError(
                f'{self.eval} cannot be evaluated: it needs model.propagator and test_dataloader. Name a config '
                f'that evaluates what it trains: {self.train}::configs/eval/davis_spatial_r18_rgb.py'
            )
        if cfg.test_dataloader.dataset.type != 'DAVIS':
            raise InputError(f'{self.eval} evaluates on {cfg.test_dataloader.dataset.type}; the table is for DAVIS.')
        if self.eval == self.train:
            override(cfg, {key: value for key, value in self.options.items() if key.startswith('model.')})
        cfg.model.propagator.protocol.short_side = scale.model.propagator.protocol.short_side
        cfg.test_dataloader = scale.test_dataloader
        if args.eval_data:
            cfg.test_dataloader.dataset.data_root = os.path.abspath(args.eval_data)
        override(cfg, args.eval_options)
        cfg.default_hooks.logger.interval = 1
        return checked(cfg)


def checked(cfg: Config) -> Config:
    check_keys(cfg)
    check_components(cfg)
    return cfg


def read_jobs(args: argparse.Namespace) -> list[Job]:
    """The rows of the command line; faults of their configs and of the evaluated videos are told here.

    Rows are told apart by the names of their configs; what provides weights must come before its users.
    """
    jobs: list[Job] = []
    for text in args.configs:
        key, equals, value = text.partition('=')
        if equals:
            jobs[-1].add(key, value)
        else:
            jobs.append(Job(text, args))
    names = [job.row.name for job in jobs]
    called = names + [UNTRAINED] * args.untrained
    if twice := sorted({name for name in called if called.count(name) > 1}):
        raise InputError(f'Two rows are called {", ".join(twice)}; CONFIG@NAME gives one of them another name.')
    providers = {*args.provide.values(), *(name for job in jobs for name in job.starts.values())}
    if unknown := sorted(providers - set(names)):
        raise InputError(
            f'Weights are to come from {", ".join(unknown)}, which is no row; the rows are {", ".join(names)}.'
        )
    seen: dict[str, str] = {}
    for number, job in enumerate(jobs):
        provided = {variable: name for variable, name in args.provide.items() if name != job.row.name}
        marks = {variable: f'{variable}: weights of {name}' for variable, name in provided.items()}
        with environment(marks):
            training = job.training({name: f'weights of {name}' for name in names})
            text = repr(training.to_dict() | dict(work_dir=None))
        for provider in providers:
            if f"weights of {provider}'" in text and provider not in names[:number]:
                raise InputError(f'{job.row.name} starts from the weights of {provider}: name {provider} before it.')
        if (same := seen.setdefault(text, job.row.name)) != job.row.name:
            raise InputError(
                f'{same} and {job.row.name} are the same at this scale: data and optimizer are those of {args.scale}.'
            )
        DATASETS.build(job.evaluation().test_dataloader.dataset)
    if args.cfg_options and not any(job.scaled for job in jobs):
        raise InputError(
            '--cfg-options are for rows that train on YouTube-VOS, and none does. KEY=VALUE after a config is for its '
            'row.'
        )
    texts = ''.join(seen)
    if idle := [variable for variable in args.provide if f"'{variable}: weights of " not in texts]:
        raise InputError(f'No row takes its weights from {", ".join(idle)} of --provide.')
    return jobs


def untrained(node: Any) -> Any:
    """The config of a network without the weights that it would start from."""
    if isinstance(node, list | tuple):
        return type(node)(map(untrained, node))
    if not isinstance(node, dict):
        return node
    kept = {
        key: False if key == 'pretrained' else untrained(value)
        for key, value in node.items()
        if key != 'init_cfg' or not values_of(value, 'checkpoint')
    }
    return type(node)(kept)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for this process, for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def one_run(job: Job, row: Row, seed: int, weights: dict[str, Path], lock: int) -> None:
    """Train (not the untrained row) and evaluate one row with one seed, unless that is done; fills in the metrics."""
    folder = job.args.work_dir.resolve() / row.name / f'seed{seed}'
    result, common = folder / 'result.json', ['--seed', str(seed), '--work-dir']
    provided = {variable: weights[name] for variable, name in job.args.provide.items() if name in weights}
    with environment({variable: str(path) for variable, path in provided.items()}):
        train, test = job.training(weights), job.evaluation()
    if row.name == UNTRAINED:
        test.model = untrained(test.model)
    checkpoint = folder / 'train' / f'iter_{train.train_cfg.max_iters}.pth'
    if row.name != UNTRAINED:
        weights[row.name] = checkpoint
        arguments = [
            keep_config(train, folder / 'train.py'),
            *common,
            str(folder / 'train'),
            '--resume',
            '--no-validate',
        ]
        if not result.is_file() and not checkpoint.is_file():
            run_step(['tools/train.py', *arguments], ROOT, folder / 'train.log', 'training', [lock])
    arguments = [keep_config(test, folder / 'eval.py'), 'none' if row.name == UNTRAINED else str(checkpoint), *common]
    arguments += [str(folder / 'eval'), '--out', str(result), '--skip-done']
    if not result.is_file():
        run_step(['tools/test.py', *arguments], ROOT, folder / 'eval.log', 'evaluation', [lock])
    row.runs[seed] = read_json(result)['metrics']


def run_all(jobs: list[Job], args: argparse.Namespace, lock: int) -> list[Row]:
    """Every row with every seed; what is finished is not run again."""
    todo = [(job, job.row) for job in jobs]
    if args.untrained:
        todo.insert(0, (jobs[0], Row(UNTRAINED, 'untrained network')))
    # A round of all rows per seed, so that an interrupted ablation has whole rounds.
    for seed in range(args.seeds):
        weights: dict[str, Path] = {}
        for number, (job, row) in enumerate(todo, start=seed * len(todo) + 1):
            print(f'[{number}/{args.seeds * len(todo)}] {row.name}, seed {seed}', flush=True)
            one_run(job, row, seed, weights, lock)
            print(f'    J&F {100 * row.runs[seed]["J&F-Mean"]:.1f}', flush=True)
    return [row for _, row in todo]


def stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        check_apart(args.work_dir, [path for path in (args.data, args.eval_data) if path])
        jobs = read_jobs(args)
        with reserved(args.work_dir, '.ablation') as lock:
            rows = run_all(jobs, args, lock)
            write_files(args.work_dir, rows)
    print(f'\n{table(rows)}\n\nMean ± standard deviation over {args.seeds} seeds, in percent. Files: {args.work_dir}/')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, stop)
    main()
