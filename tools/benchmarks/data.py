"""How many samples a process loads per second, against how many the model takes: of stage 1 and of the temporal stage.

A sample is what the model learns from at once: an image with all its views, or a pair of frames. The files are made on
the spot, JPEG with noise, at the usual size of ImageNet (500 x 375) and of YouTube-VOS (1280 x 720).
"""

import argparse
import atexit
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmarks.common import measured
from mmengine.config import Config
from mmengine.dataset import default_collate

from stt_mm.engine import load_config
from stt_mm.registry import DATASETS, MODELS

FILES = 8


def training_config(name: str) -> Config:
    """A shipped training config whose networks start at random."""
    cfg = load_config(name)
    for part in (cfg.model.backbone, (cfg.model.get('teacher') or {}).get('backbone', {})):
        part.pop('init_cfg', None)
    return cfg


def write_images(folder: str, width: int, height: int) -> None:
    """JPEG files in the layout of YouTube-VOS, which is also a folder of images."""
    rng = np.random.default_rng(0)
    for index in range(FILES):
        smooth = cv2.resize(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8), (width, height))
        detailed = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        path = Path(folder, 'train', 'JPEGImages', 'video', f'{index:05d}.jpg')
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), detailed)


def load_batch(cfg: Config, args: argparse.Namespace) -> Callable[[], dict]:
    """Loads one batch as a data worker does, in this process, without further threads."""
    cv2.setNumThreads(0)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    settings = cfg.train_dataloader.dataset
    write_images(folder, *((500, 375) if settings.type == 'ImageFolder' else (1280, 720)))
    dataset = DATASETS.build(dict(settings, data_root=folder))
    return lambda: default_collate([dataset[draw % len(dataset), draw, 0] for draw in range(args.batch)])


def prepare(name: str, args: argparse.Namespace) -> Callable[[], None]:
    """``data <config>`` or ``step <config>``, warmed up."""
    part, config = name.split()
    cfg = training_config(config)
    load = load_batch(cfg, args)
    batch = load()
    if part == 'data':
        return load
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(args.device).train()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-3)

    def step() -> None:
        losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
        optimizer.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        optimizer.step()

    step()
    return step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--configs',
        nargs='+',
        metavar='CONFIG',
        default=['pretrain/mocov2_r18_in1k', 'pretrain/detco_r18_in1k', 'stt_r18_ytv'],
        help='training configs (default: %(default)s)',
    )
    parser.add_argument('--batch', type=int, default=8, help='samples (default: %(default)s)')
    parser.add_argument('--repeats', type=int, default=5, help='runs per part (default: %(default)s)')


def run(args: argparse.Namespace) -> None:
    """Print samples per second of loading and of learning for each config."""
    print(
        f'batch {args.batch}, learning on {args.device} with {args.threads} threads, torch {torch.__version__}; '
        f'median of {args.repeats}'
    )
    print(f'{"samples per second":<28}{"loaded per process":>20}{"learned":>10}{"workers needed":>16}')
    for config in args.configs:
        loaded, learned = (args.batch / measured(prepare, f'{part} {config}', args)[0] for part in ('data', 'step'))
        print(f'{config:<28}{loaded:>20.1f}{learned:>10.1f}{math.ceil(learned / loaded):>16}', flush=True)
