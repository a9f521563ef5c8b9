"""Time and peak memory of each part of a training iteration, windowed against dense."""

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.common import measured
from mmengine.config import Config
from mmengine.dataset import default_collate
from torch import Tensor
from torch.utils.data import DataLoader

from stt_mm.errors import InputError
from stt_mm.ops import window_mask
from stt_mm.registry import DATASETS, MODELS
from stt_mm.utils.config_path import config_path

# Channels and stride of each stage of the student, by depth.
SHAPES = {
    18: dict(res3=(128, 4), res4=(256, 8), res5=(512, 32)),
    50: dict(res3=(512, 4), res4=(1024, 8), res5=(2048, 32)),
}
RADII = dict(res3=12, res4=6)


def build_model(args: argparse.Namespace) -> torch.nn.Module:
    """The shipped model of that depth, without pretrained weights."""
    cfg = Config.fromfile(config_path(f'stt_r{args.depth}_ytv'))
    cfg.merge_from_dict({'model.backbone.init_cfg': None, 'model.teacher.backbone.init_cfg': None})
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.to(args.device).train()


def features(args: argparse.Namespace, size: int) -> dict[str, list[Tensor]]:
    """Stage to (reference, target) features with gradients, of the shape that the student gives."""
    return {
        stage: [
            torch.randn(args.batch, channels, size // stride, size // stride, device=args.device, requires_grad=True)
            for _ in range(2)
        ]
        for stage, (channels, stride) in SHAPES[args.depth].items()
    }


def frames(args: argparse.Namespace, size: int) -> tuple[Tensor, Tensor]:
    """(reference, target) frames ``[B, 3, size, size]``."""
    return torch.rand(2, args.batch, 3, size, size, device=args.device).unbind()


def dense_affinity(query: Tensor, key: Tensor, radius: int) -> Tensor:
    """The masked full form of the research code: ``[B, HW, HW]``."""
    height, width = query.shape[-2:]
    rows, columns = (torch.arange(side, device=query.device) for side in (height, width))
    near_rows = (rows[:, None] - rows).abs() <= radius
    near_columns = (columns[:, None] - columns).abs() <= radius
    mask = (near_rows[:, None, :, None] & near_columns[None, :, None, :]).view(height * width, -1)
    logits = torch.einsum('bci,bcj->bij', query.flatten(2), key.flatten(2)) / math.sqrt(query.shape[1])
    return logits.masked_fill(~mask, -math.inf).softmax(-1)


def dense_losses(feats: dict[str, list[Tensor]], reference: Tensor, target: Tensor) -> Tensor:
    """Reconstruction at two stages and local distillation with selection, on full matrices."""
    affinity = {stage: dense_affinity(feats[stage][1], feats[stage][0], radius) for stage, radius in RADII.items()}
    loss = 0
    for stage, matrix in affinity.items():
        grid = feats[stage][0].shape[-1]
        stride = reference.shape[-1] // grid
        small = reference[:, 1:2, ::stride, ::stride].flatten(2).transpose(1, 2)
        rebuilt = (matrix @ small).transpose(1, 2).view(-1, 1, grid, grid)
        rebuilt = F.interpolate(rebuilt, scale_factor=stride, mode='bilinear', align_corners=False)
        loss = loss + F.smooth_l1_loss(20 * rebuilt, 20 * target[:, 1:2])
    with torch.no_grad():
        fine, coarse = (feats[stage][0].shape[-1] for stage in ('res3', 'res4'))
        pooled = F.avg_pool2d(affinity['res3'].view(-1, fine * fine, fine, fine), 2).flatten(2).transpose(1, 2)
        pooled = F.avg_pool2d(pooled.reshape(-1, coarse * coarse, fine, fine), 2).flatten(2).transpose(1, 2)
        reference_4, target_4 = feats['res4']
        raw = torch.einsum('bci,bcj->bij', target_4.flatten(2), reference_4.flatten(2))
        inside = window_mask(coarse, coarse, RADII['res4'], raw.device).sum(-1)
        raw = raw.masked_fill(affinity['res4'] == 0, -math.inf)
        outside = (2 * RADII['res4'] + 1) ** 2 - inside
        total = raw.exp().sum(-1) + outside
        logs = -((raw - total.log()[..., None]).exp() + 1e-12).log()
        entropy = logs.masked_fill(raw.isinf(), 0).sum(-1) + outside * -(1 / total + 1e-12).log()
        entropy = entropy.view(-1, coarse, coarse)
        ranked = entropy.sort(-1, descending=True).values
        row = int(coarse * 0.7) - 1
        keep = (entropy > ranked[:, row : row + 1]).flatten(1)
    squared = (affinity['res4'] - pooled).square().sum(-1)
    return loss + 1000 * (squared * keep).sum() / (coarse**2 * keep.sum() + 1e-12)


def heads_part(names: tuple[str, ...]) -> Callable:
    """A part that runs some heads of the model, forward and backward, on given features."""

    def prepare(args: argparse.Namespace) -> Callable[[int], None]:
        model = build_model(args)
        for name in {'reconstruction_head', 'local_head', 'global_head'} - set(names):
            setattr(model, name, None)
        dropped = torch.tensor([1], device=args.device)

        def run(size: int) -> None:
            feats, (reference, target) = features(args, size), frames(args, size)
            keys, queries = ({stage: pair[side] for stage, pair in feats.items()} for side in (0, 1))
            channels, stride = SHAPES[args.depth]['res5']
            teacher = torch.randn(2, args.batch, channels, size // stride, size // stride, device=args.device)
            losses = model.head_losses(queries, keys, reference, target, dropped, tuple(teacher))
            sum(value for key, value in losses.items() if 'loss' in key).backward()

        return run

    return prepare


def dense_part(args: argparse.Namespace) -> Callable[[int], None]:
    """The same reconstruction and local distillation on full matrices."""
    return lambda size: dense_losses(features(args, size), *frames(args, size)).backward()


def backbone_part(backward: bool) -> Callable:
    """The student on both frames of every clip."""

    def prepare(args: argparse.Namespace) -> Callable[[int], None]:
        backbone = build_model(args).backbone

        def run(size: int) -> None:
            with torch.set_grad_enabled(backward):
                out = backbone(torch.rand(2 * args.batch, 3, size, size, device=args.device))
                if backward:
                    sum(stage.mean() for stage in out).backward()

        return run

    return prepare


def teacher_part(args: argparse.Namespace) -> Callable[[int], None]:
    """The frozen teacher on both frames of every clip."""
    teacher = build_model(args).teacher

    def run(size: int) -> None:
        teacher(torch.rand(2 * args.batch, 3, size, size, device=args.device))

    return run


def step_part(args: argparse.Namespace) -> Callable[[int], None]:
    """A whole iteration without the data: colours, student, teacher, heads, backward, Adam."""
    model = build_model(args)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def run(size: int) -> None:
        clips = torch.randint(0, 256, (args.batch, 2, 3, size, size), dtype=torch.uint8)
        losses = model(**model.data_preprocessor(dict(inputs=clips), training=True), mode='loss')
        optimizer.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        optimizer.step()

    return run


def data_part(args: argparse.Namespace) -> Callable[[int], None]:
    """Loading one batch of pairs from 1280 x 720 JPEG files, in one process."""
    folder = tempfile.TemporaryDirectory()
    rng = np.random.default_rng(0)
    for index in range(4):
        smooth = cv2.resize(rng.integers(0, 256, (45, 80, 3), dtype=np.uint8), (1280, 720))
        detailed = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        path = Path(folder.name, 'train', 'JPEGImages', 'video', f'{index:05d}.jpg')
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), detailed)
    cfg = Config.fromfile(config_path(f'stt_r{args.depth}_ytv')).train_dataloader.dataset

    def run(size: int) -> None:
        cfg.pipeline[1].size = (size, size)
        cfg.data_root = folder.name
        dataset = DATASETS.build(cfg)
        keys = [(0, draw) for draw in range(args.batch)]
        next(iter(DataLoader(dataset, batch_size=args.batch, sampler=keys, collate_fn=default_collate)))

    return run


PARTS = {
    'data: one batch, one process': data_part,
    'student, forward': backbone_part(backward=False),
    'student, forward + backward': backbone_part(backward=True),
    'teacher, forward': teacher_part,
    'reconstruction head': heads_part(('reconstruction_head',)),
    'local head': heads_part(('local_head',)),
    'global head': heads_part(('global_head',)),
    'reconstruction + local, windowed': heads_part(('reconstruction_head', 'local_head')),
    'reconstruction + local, dense': dense_part,
    'whole iteration': step_part,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--depth', type=int, default=18, choices=(18, 50), help='ResNet depth (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=4, help='clips of two frames (default: %(default)s)')
    parser.add_argument('--size', type=int, default=256, help='side of the frames (default: %(default)s)')
    parser.add_argument('--repeats', type=int, default=3, help='runs per part (default: %(default)s)')


def prepare(name: str, args: argparse.Namespace) -> Callable[[], None]:
    """A part, warmed up on a small input."""
    part = PARTS[name](args)
    part(64)
    return lambda: part(args.size)


def run(args: argparse.Namespace) -> None:
    """Print the table of training parts."""
    if args.size % 64:
        raise InputError(f'--size must be a multiple of 64, got {args.size}.')
    print(
        f'R{args.depth}, batch {args.batch}, {args.size} x {args.size}, {args.device}, {args.threads} threads, '
        f'torch {torch.__version__}; median of {args.repeats}, forward + backward for heads'
    )
    print(f'{"part":<36}{"seconds":>10}{"peak MiB":>10}')
    rows = {}
    for name in PARTS:
        rows[name] = measured(prepare, name, args)
        print(f'{name:<36}{rows[name][0]:>10.3f}{rows[name][1]:>10.0f}', flush=True)
    windowed, dense = (rows[f'reconstruction + local, {form}'] for form in ('windowed', 'dense'))
    print(
        f'windowed against dense: {windowed[0] / dense[0]:.2f} of the time, {windowed[1] / dense[1]:.2f} of the memory'
    )
    images = 2 * args.batch
    print(
        f'images per second: data {images / rows["data: one batch, one process"][0]:.1f} per process, '
        f'training {images / rows["whole iteration"][0]:.1f}'
    )
