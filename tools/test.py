"""Evaluate a checkpoint's backbone on a benchmark."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from stt_mm.engine import finish_runtime, load_config, prepare_runtime, to_plain
from stt_mm.engine.cli import add_common_arguments, one_line_errors
from stt_mm.utils.checkpoint import load_backbone, sha8, write_atomically

EXAMPLES = """examples:
  python tools/test.py configs/stt_r18_ytv.py work_dirs/stt_r18_ytv/iter_90000.pth --out davis.json
  python tools/test.py configs/stt_r18_ytv.py moco_v2_800ep.pth.tar       (weights of another project)
  python tools/test.py configs/eval/davis_r18_s8.py none                  (the untrained network)
  tools/dist_test.sh configs/stt_r18_ytv.py stt_r18.pth 4 --dump-masks masks

The backbone is taken from training files of this toolbox, published files, mmpretrain, official MoCo and SimSiam,
torchvision and released STT checkpoints; the line "checkpoint:" tells which and how many weights matched."""

TRAINING_KEYS = ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'val_cfg',
                 'val_dataloader', 'val_evaluator', 'load_from')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file with test_dataloader, test_cfg and test_evaluator')
    parser.add_argument('checkpoint',
                        help='checkpoint file, or "none" to evaluate the network as a training would start')
    parser.add_argument('--work-dir', help='where the log and results go (default: ./work_dirs/<config name>)')
    parser.add_argument('--out', metavar='FILE.json', help='also write metrics and checkpoint name to FILE.json')
    parser.add_argument('--dump-masks', metavar='DIR', help='write the predicted masks as palette PNGs below DIR')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='allow a checkpoint that holds more than tensors and plain data; it can run code, so know '
                        'where it comes from')
    parser.add_argument('--allow-partial', action='store_true',
                        help='accept a checkpoint that fills less than 99%% of the backbone')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--compile', action='store_true', help='run the test step through torch.compile')
    parser.add_argument('--seed', type=int, help='random seed (default: randomness.seed of the config)')
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Write the command line's wishes into the config and remove what only training needs."""
    for key in ('model', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        if cfg.get(key) is None:
            raise ValueError(f'{cfg.filename} cannot be used for testing: it has no {key}.')
    for key in TRAINING_KEYS:
        cfg.pop(key, None)
    cfg.resume = False
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(cfg.filename).stem)
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    if args.compile:
        cfg.compile = True
    if args.amp:
        cfg.test_cfg.fp16 = True
    set_outputs(cfg, args.dump_masks)


def set_outputs(cfg: Config, masks: str | None) -> None:
    """Let the DAVIS metrics of the config write their tables to the work directory and, if given, masks to a folder."""
    evaluator = cfg.test_evaluator
    metrics = evaluator if isinstance(evaluator, list | tuple) else [evaluator]
    davis = [metric for metric in metrics if str(metric.get('type', '')).split('.')[-1] == 'DAVISMetric']
    if masks and not davis:
        raise ValueError(f'--dump-masks needs a DAVISMetric among the test_evaluator of {cfg.filename}.')
    for metric in davis:
        metric['out_dir'] = metric.get('out_dir') or cfg.work_dir
        if masks:
            metric['dump_masks'] = masks


def load_weights(runner: Runner, args: argparse.Namespace) -> dict[str, Any]:
    """Fill the model's backbone.

    Returns:
        What the result file says about the checkpoint.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if args.checkpoint.lower() == 'none':
        model.init_weights()
        runner.logger.info(f'checkpoint: none, the network is evaluated as a training would start (seed {runner.seed})')
        return dict(path=None, sha8=None, source='none')
    backbone = getattr(model, 'backbone', None)
    if backbone is None or not backbone.state_dict():
        raise ValueError(f'{type(model).__name__} of {args.config} has no backbone with weights; pass "none" in place '
                         f'of {args.checkpoint}.')
    report = load_backbone(backbone, args.checkpoint, trust=args.trust_checkpoint, allow_partial=args.allow_partial)
    runner.logger.info(f'checkpoint: {args.checkpoint}; {report}')
    if not report.complete:
        runner.logger.warning(f'--allow-partial: {report.details(limit=20)}')
    return dict(path=args.checkpoint, sha8=sha8(args.checkpoint), source=report.source, matched_ratio=report.ratio)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        merge_args(cfg, args)
        prepare_runtime(cfg, args.launcher)
        runner = Runner.from_cfg(cfg)
        checkpoint = load_weights(runner, args)
        metrics = runner.test()
        if args.out and is_main_process():
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            protocol = getattr(model, 'protocol', None)
            result = to_plain(dict(metrics=metrics, checkpoint=checkpoint, config=Path(cfg.filename).name,
                                   protocol=protocol, seed=runner.seed), 'result')
            write_atomically((json.dumps(result, indent=2) + '\n').encode(), args.out)
            runner.logger.info(f'Results written to {args.out}')
        finish_runtime()


if __name__ == '__main__':
    main()
