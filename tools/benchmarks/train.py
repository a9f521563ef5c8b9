"""Time and peak memory of an iteration of any training config with one data set, of its parts, and the workers needed.

The files that are loaded are made on the spot, JPEG with noise, at the usual size of ImageNet (500 x 375) and of
YouTube-VOS (1280 x 720). Networks start at random. --amp and --compile are those of tools/train.py. KEY=VALUE after a
config changes that one alone, so that one config can appear with and without a part of it.
"""

import argparse
import atexit
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from benchmarks.common import measured
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.optim import build_optim_wrapper
from torch import Tensor

from stt_mm.engine import enable_amp, load_config
from stt_mm.engine.cli import add_config_options, between, option_value
from stt_mm.errors import InputError
from stt_mm.registry import DATASETS, MODELS

DATA, STEP = 'data: one batch, one process', 'whole iteration'
PARTS = (DATA, 'student, forward', 'student, forward + backward', 'teacher, forward', STEP)
FILES = 8


class Training(NamedTuple):
    """A config, and what changes it alone."""

    config: str
    options: dict[str, Any]
    name: str


def trainings(texts: Sequence[str]) -> list[Training]:
    """Those of ``CONFIG [KEY=VALUE ...]``, several times.

    Raises:
        InputError: for options before the first config.
    """
    found: list[Training] = []
    for text in texts:
        key, equals, value = text.partition('=')
        if not equals:
            found.append(Training(text, {}, text))
        elif found:
            config, options, name = found.pop()
            found.append(Training(config, options | {key: option_value(value)}, f'{name} {text}'))
        else:
            raise InputError(f'--configs: {text} stands before the first config.')
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--configs',
        nargs='+',
        metavar='CONFIG [KEY=VALUE ...]',
        default=['stt_r18_ytv'],
        help='training configs',
    )
    add_config_options(parser)
    parser.add_argument('--batch', type=between(1), default=4, help='clips or images')
    parser.add_argument('--step-only', action='store_true', help='only the whole iteration')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--compile', action='store_true', help='the loss through torch.compile')


def read_config(training: Training, args: argparse.Namespace) -> Config:
    """A training config whose networks start at random."""
    cfg = load_config(training.config, (args.cfg_options or {}) | training.options)
    if (cfg.get('train_cfg') or {}).get('image_dataloader'):
        raise InputError(f'{training.config} trains on videos and images at once: what is timed here has one data set.')
    for part in (cfg.model.backbone, (cfg.model.get('teacher') or {}).get('backbone', {})):
        part.pop('init_cfg', None)
    return cfg


def loader(cfg: Config, batch: int) -> Callable[[], dict]:
    """Loads one batch as a data worker does, in this process, without further threads."""
    cv2.setNumThreads(0)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    settings = cfg.train_dataloader.dataset
    width, height = (500, 375) if settings.type == 'ImageFolder' else (1280, 720)
    # The layout of YouTube-VOS, which is also a folder of images.
    video = Path(folder, settings.get('split', 'train'), 'JPEGImages', 'video')
    video.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(FILES):
        smooth = cv2.resize(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8), (width, height))
        detailed = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(video / f'{index:05d}.jpg'), detailed)
    dataset = DATASETS.build(dict(settings, data_root=folder))
    return lambda: default_collate([dataset[draw % len(dataset), draw, 0] for draw in range(batch)])


def prepare(training: Training, part: str, args: argparse.Namespace) -> Callable[[], object]:
    """A part of a training."""
    cfg = read_config(training, args)
    load = loader(cfg, args.batch)
    if part == DATA:
        return load
    batch = load()
    if args.amp:
        enable_amp(cfg)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(args.device).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    if part == STEP:
        if args.compile:  # what tools/train.py --compile compiles
            model.loss = torch.compile(model.loss)
        return lambda: model.train_step(batch, optim_wrapper)
    views = batch['inputs']
    shape = views.flatten(0, 1).shape if isinstance(views, Tensor) else torch.cat(views[:2]).shape
    network = model.teacher if part.startswith('teacher') else model.backbone
    frames = torch.rand(shape, device=args.device)

    def run() -> None:
        with torch.set_grad_enabled('backward' in part), optim_wrapper.optim_context(model):
            out = network(frames)
            loss = sum(stage.mean() for stage in out) if 'backward' in part else None
        if loss is not None:
            loss.backward()

    return run


def run(args: argparse.Namespace) -> Iterator[dict]:
    """The rows of each config, beside those of the first one, and how many samples it loads and learns per second."""
    first, configs = {}, trainings(args.configs)
    for training in configs:
        seconds = {}
        for part in (STEP,) if args.step_only else PARTS:
            if part.startswith('teacher') and not read_config(training, args).model.get('teacher'):
                continue
            seconds[part], memory = measured(partial(prepare, training), part, args)
            row = dict(part=f'{training.name}: {part}', seconds=seconds[part], MiB=memory)
            ratio = seconds[part] / first.setdefault(part, seconds[part])
            yield row | ({'of the first': ratio} if len(configs) > 1 else {})
        if args.step_only:
            continue
        loaded, learned = (args.batch / seconds[part] for part in (DATA, STEP))
        workers = math.ceil(learned / loaded)
        yield {
            'samples per second': training.name,
            'loaded per process': loaded,
            'learned': learned,
            'workers needed': workers,
        }
