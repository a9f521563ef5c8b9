"""Evaluate a checkpoint's backbone on a benchmark."""

import argparse
import glob
import hashlib
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from stt_mm.engine import bare, finish_runtime, load_config, prepare_runtime, run_log, to_plain, values_of
from stt_mm.engine.cli import (
    add_weight_arguments,
    merge_run_arguments,
    one_line_errors,
    parse_run_arguments,
    process_rank,
    tool_parser,
)
from stt_mm.errors import InputError
from stt_mm.evaluation.metrics import VideoMetric, claim_dump, completed, forget_records
from stt_mm.evaluation.metrics.tables import write_json
from stt_mm.models import load_for_evaluation
from stt_mm.registry import METRICS, RUNNERS
from stt_mm.utils.checkpoint import remove_left_overs, sha8
from stt_mm.utils.targets import alone_in, check_apart, check_distinct, check_file, make_folder

EXAMPLES = """examples:
  python tools/test.py configs/stt_r18_ytv.py work_dirs/stt_r18_ytv/iter_90000.pth --out davis.json
  python tools/test.py configs/stt_r18_ytv.py moco_v2_800ep.pth.tar       (weights of another project)
  python tools/test.py configs/eval/davis_r18_s8.py none                  (the untrained network)
  tools/dist_test.sh configs/eval/vip_r18_s8.py stt_r18.pth 4 --dump-masks masks
  python tools/test.py configs/eval/ytv_r18_s8.py stt_r18.pth --skip-done (continue an interrupted evaluation)

The checkpoint may come from this toolbox (training or published), released STT, VFS and CRW, official MoCo, SimSiam,
DINO and DINOv2, mmpretrain, timm or torchvision. The log line "checkpoint:" tells which, and how many weights fit."""

TRAINING_KEYS = (
    'train_cfg',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'load_from',
)
# Options and arguments of metrics: where predictions are written.
DUMPS = dict(dump_masks='masks', dump_points='points')
# Arguments of metrics that no record depends on.
UNRECORDED = {'type', 'out_dir', 'resume', 'run_id', 'seen_categories', *DUMPS}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file with test_dataloader, test_cfg and test_evaluator')
    parser.add_argument(
        'checkpoint',
        help='checkpoint file, a network that comes with stt_mm (stt_r18_demo), or "none" for the weights that '
        'the config starts from',
    )
    parser.add_argument(
        '--out', metavar='FILE.json', help='also write the metrics and the name of the checkpoint to FILE.json'
    )
    parser.add_argument('--dump-masks', metavar='DIR', help='write the predicted masks as palette PNGs below DIR')
    parser.add_argument(
        '--dump-points', metavar='DIR', help='write the predicted points as JSON and .mat (JHMDB) below DIR'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='remove what another evaluation left in a --dump-... folder'
    )
    parser.add_argument(
        '--skip-done',
        action='store_true',
        help='continue an interrupted evaluation of the same config and checkpoint: skip what is in the work directory '
        '(and in the --dump-... folder)',
    )
    add_weight_arguments(parser)
    parser.add_argument(
        '--amp', action='store_true', help='compute features, and the cosines that choose matches, in half precision'
    )
    parser.add_argument('--compile', action='store_true', help='run the backbone through torch.compile')
    return parse_run_arguments(parser, argv)


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Write the command line's wishes into the config and remove what only training needs."""
    for key in ('model', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        if cfg.get(key) is None:
            raise InputError(f'{cfg.filename} cannot be used for testing: it has no {key}.')
    for key in TRAINING_KEYS:
        cfg.pop(key, None)
    cfg.resume = False
    merge_run_arguments(cfg, args)
    if args.amp:
        cfg.test_cfg.fp16 = True
    metrics = metrics_of(cfg)
    dumps = {key: getattr(args, key) for key in DUMPS if getattr(args, key)}
    if (dumps or args.skip_done) and not metrics:
        raise InputError(
            f'--dump-masks, --dump-points and --skip-done need a metric of a video benchmark, such as DAVISMetric, as '
            f'test_evaluator of {cfg.filename}.'
        )
    for metric in metrics:
        metric['out_dir'] = metric.get('out_dir') or cfg.work_dir
        metric['run_id'] = run_id(cfg, args.checkpoint, args.prefix, args.allow_partial)
        metric['resume'] = args.skip_done
        metric.update(dumps)
        # What is wrong with its arguments is found before anything is loaded.
        METRICS.build(dict(metric, resume=False))
    if args.skip_done:
        dataset = cfg.test_dataloader.dataset
        dataset.skip = sorted({*dataset.get('skip', ()), *done(cfg)})


def metrics_of(cfg: Config) -> list[dict]:
    """The configs of the benchmark metrics among the evaluator's."""
    evaluator = cfg.test_evaluator
    metrics = evaluator if isinstance(evaluator, list | tuple) else [evaluator]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'stt_mm')):
        return [metric for metric in metrics if issubclass(METRICS.get(metric['type']) or object, VideoMetric)]


def dumps_of(metric: dict) -> dict[str, str]:
    """Where a metric writes predictions, by what they are: one folder at most."""
    return {kind: metric[key] for key, kind in DUMPS.items() if metric.get(key)}


def run_id(cfg: Config, checkpoint: str, prefix: str | None = None, allow_partial: bool = False) -> str:
    """Short name of what decides the record of a video: model, data, precision, weights, and how it is scored."""
    weights = initial_weights(cfg) if checkpoint.lower() == 'none' else sha8(checkpoint)
    parts = [cfg.model.to_dict(), cfg.test_dataloader.dataset.to_dict(), cfg.test_cfg.get('fp16'), weights, prefix]
    scoring = [{key: value for key, value in metric.items() if key not in UNRECORDED} for metric in metrics_of(cfg)]
    parts += [scoring] if any(scoring) else []
    # What a part of a checkpoint does not fill stays as it was.
    parts += [initial_weights(cfg)] if allow_partial else []
    return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:16]


def initial_weights(cfg: Config) -> tuple:
    """What decides the weights of a model without a checkpoint: the files that its config names, and the seed."""
    networks = [cfg.model.get('backbone'), *cfg.model.get('backbones', [])]
    random = any(network is not None and not any(values_of(network, 'checkpoint')) for network in networks)
    seed = (cfg.get('randomness') or {}).get('seed') if random else None
    return [sha8(path) for path in values_of(cfg.model, 'checkpoint') if Path(path).is_file()], seed


def done(cfg: Config) -> list[str]:
    """Videos whose results are there for every metric."""
    ids = [
        set(
            completed(metric['out_dir'], METRICS.get(metric['type']).name, metric['run_id'], *dumps_of(metric).values())
        )
        for metric in metrics_of(cfg)
    ]
    return sorted(set.intersection(*ids))


def check_targets(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Refuse results that would replace what is read, which is returned, or each other, before anything is made."""
    sources = [
        args.config,
        args.checkpoint,
        *values_of(cfg.model, 'checkpoint'),
        *values_of(
            [cfg.test_dataloader, cfg.test_evaluator],
            'data_root',
            'davis_root',
            'ann_file',
            'video_list',
            'seen_categories',
        ),
    ]
    check_apart(cfg.work_dir, sources)
    targets = {'--out': args.out} if args.out else {}
    for metric in metrics_of(cfg):
        name = METRICS.get(metric['type']).name
        targets[f'the results of {name}'] = Path(metric['out_dir'], f'{name}_results.json')
        check_apart(metric['out_dir'], sources)
        for folder in dumps_of(metric).values():
            check_apart(folder, sources)
    check_distinct(targets)
    for path in targets.values():
        check_file(path, sources)
    return sources


def make_room(cfg: Config, args: argparse.Namespace, runner: Runner, sources: list[str]) -> None:
    """Claim the folders of masks and, for a run that begins afresh, remove the records of an earlier one."""
    data = getattr(runner.test_loop.dataloader.dataset, 'data_list', None) or ()
    paths = {path for video in data for key in ('frame_paths', 'mask_paths') for path in video.get(key) or () if path}
    # A file that was named holds its videos itself; the folder that it lies in may hold anything else.
    named = {os.path.abspath(source) for source in sources if source}
    folders = sorted({str(Path(path).parent) for path in paths if os.path.abspath(path) not in named})
    # What links deeper in the data lead to is known only now.
    check_apart(cfg.work_dir, folders)
    if args.out:
        check_file(args.out, folders)
    for metric in metrics_of(cfg) if is_main_process() else ():
        for kind, folder in dumps_of(metric).items():
            check_distinct({video['video_id']: Path(folder, video['video_id']) for video in data})
            claim_dump(folder, metric['run_id'], [*sources, *folders], args.overwrite, kind)
        if not args.skip_done:
            forget_records(metric['out_dir'], METRICS.get(metric['type']).name)
        for folder in (metric['out_dir'], *dumps_of(metric).values()):
            for kind in ('json', 'csv', 'mat'):
                remove_left_overs(folder, f'**/*.{kind}')
    if args.out and is_main_process():
        remove_left_overs(Path(args.out).parent, glob.escape(Path(args.out).name))
    barrier()


def compile_networks(model: nn.Module) -> None:
    """Let PyTorch compile the network, or the networks of a fusion."""
    for network in [getattr(model, 'backbone', None), *getattr(model, 'backbones', [])]:
        if network is not None:
            network.compile()


def load_weights(runner: Runner, args: argparse.Namespace) -> dict[str, Any]:
    """Fill the model's backbone; returns what the result file says about the checkpoint."""
    model = bare(runner.model)
    if args.checkpoint.lower() == 'none':
        load_for_evaluation(model, None, allow_other_geometry=args.allow_other_geometry)
        runner.logger.info(f'checkpoint: none, the network is as its config initialises it (seed {runner.seed})')
        return dict(path=None, sha8=None, source='none')
    report = load_for_evaluation(
        model, args.checkpoint, args.trust_checkpoint, args.allow_partial, args.prefix, args.allow_other_geometry
    )
    runner.logger.info(f'checkpoint: {args.checkpoint}; {report}')
    return dict(
        path=args.checkpoint,
        sha8=sha8(args.checkpoint),
        source=report.source,
        matched_ratio=report.ratio,
        geometry=dict(trained=report.geometry, used=getattr(model, 'geometry', None)),
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors(), run_log() as log, ExitStack() as held:
        cfg = load_config(args.config, args.cfg_options)
        merge_args(cfg, args)
        sources = check_targets(cfg, args)
        prepare_runtime(cfg, args.launcher)
        make_folder(cfg.work_dir)
        if process_rank() == 0:
            held.enter_context(alone_in(cfg.work_dir, 'evaluation'))
        runner = RUNNERS.build(cfg)
        log.attach(runner)
        checkpoint = load_weights(runner, args)
        if args.compile:
            compile_networks(bare(runner.model))
        make_room(cfg, args, runner, sources)
        protocol = getattr(bare(runner.model), 'protocol', None)
        if protocol is not None:
            runner.logger.info(f'protocol: {bare(runner.model).propagator.protocol}\n{json.dumps(protocol)}')
        metrics = runner.test()
        if args.out and is_main_process():
            max_frames = cfg.test_dataloader.dataset.get('max_frames')
            result = to_plain(
                dict(
                    metrics=metrics,
                    checkpoint=checkpoint,
                    config=Path(cfg.filename).name,
                    protocol=protocol,
                    max_frames=max_frames,
                    seed=runner.seed,
                ),
                'result',
            )
            write_json(args.out, result)
            runner.logger.info(f'Results written to {args.out}')
        del runner
        finish_runtime()


if __name__ == '__main__':
    main()
