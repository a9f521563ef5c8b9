"""Draw samples of the data that a config trains or evaluates on.

For training: the frames of a clip on top (crop in red), and the same frames as the model gets them below; the file name
tells of a flip. For stage 1: the views of an image. For evaluation: the frames with given labels, and their masks or
points.
"""

import argparse
import hashlib
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from stt_mm.datasets import ImageFolder
from stt_mm.engine import load_config, values_of
from stt_mm.engine.cli import add_config_options, between, one_line_errors, tool_parser, tracked
from stt_mm.errors import FileError, InputError
from stt_mm.registry import DATASETS
from stt_mm.utils.targets import claim_folder
from stt_mm.visualization import draw_points, overlay, stack_rows, to_height

EXAMPLE = """example:
  python tools/browse_dataset.py configs/stt_r18_ytv.py -o work_dirs/browse -n 20"""
HEIGHT = 256
RED = (255, 0, 0)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EXAMPLE)
    parser.add_argument('config', help='config file')
    parser.add_argument('-o', '--out', required=True, metavar='DIR', help='folder for the pictures, created if missing')
    parser.add_argument('-p', '--phase', choices=('train', 'val', 'test'), default='train', help='data to draw')
    parser.add_argument('-n', '--num', type=between(1), default=10, metavar='N', help='number of samples')
    add_config_options(parser)
    parser.add_argument('--overwrite', action='store_true', help='remove the pictures of another config from DIR')
    return parser.parse_args(argv)


def build_dataset(cfg: Config, phase: str):
    """The dataset of one phase of a config."""
    loader = cfg.get(f'{phase}_dataloader')
    if loader is None or 'dataset' not in loader:
        raise InputError(f'{cfg.filename} has no {phase}_dataloader with a dataset; choose another phase with -p.')
    return DATASETS.build(loader.dataset)


def draw_clip(dataset, index: int, draw: int) -> tuple[str, np.ndarray]:
    """Name and picture of one training clip."""
    results = dataset.get_clip(index, draw)
    name, originals = f'{results["video_id"]}_{results["frame_inds"][0]:05d}', []
    for transform in dataset.pipeline.transforms:
        results = transform(results)
        if not originals and 'frames' in results:
            originals = [frame.copy() for frame in results['frames']]
    sample = results['data_samples']
    if 'crop' in sample:
        top, left, height, width = sample.crop
        for frame in originals:
            thickness = max(frame.shape[0] // 120, 1)
            cv2.rectangle(frame, (left, top), (left + width - 1, top + height - 1), RED, thickness)
    rows = [np.concatenate([to_height(frame, HEIGHT) for frame in originals], axis=1)] if originals else []
    clip = results['inputs'].numpy().transpose(0, 2, 3, 1)
    rows.append(np.concatenate([to_height(np.ascontiguousarray(frame), HEIGHT) for frame in clip], axis=1))
    return name + ('_flip' if sample.get('flip') else ''), stack_rows(rows)


def draw_views(dataset, index: int, draw: int) -> tuple[str, np.ndarray]:
    """Name and picture of one image of stage 1: its views side by side."""
    views = dataset[(index, draw, 0)]['inputs']
    pictures = [np.ascontiguousarray(view.numpy().transpose(1, 2, 0)[..., ::-1]) for view in views]
    video_id = dataset.get_data_info(index)['video_id']
    return video_id, np.concatenate([to_height(picture, HEIGHT) for picture in pictures], axis=1)


def draw_video(dataset, index: int) -> tuple[str, np.ndarray]:
    """Name and picture of one evaluation video: the frames in which labels are given, with them, side by side."""
    item = dataset[index]
    sample, frames = item['data_samples'], item['inputs']
    draw, given = (
        (draw_points, sample.given_points) if 'given_points' in sample else (overlay, sample.get('given_masks', {}))
    )
    pictures = [draw(frames[t], labels) for t, labels in given.items()] or [frames[0]]
    return sample.video_id, np.concatenate(pictures, axis=1)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        browse(args)


def browse(args: argparse.Namespace) -> None:
    """Write the pictures."""
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'stt_mm'))
    dataset = build_dataset(cfg, args.phase)
    out = Path(args.out)
    loader = cfg[f'{args.phase}_dataloader']
    digest = hashlib.sha256(repr(loader.to_dict()).encode()).hexdigest()[:8]
    claim_folder(
        out,
        f'{args.num} pictures of {cfg.filename}, {args.phase} (data {digest})',
        '.png',
        [cfg.filename, *values_of(loader, 'data_root', 'davis_root')],
        args.overwrite,
    )
    count = args.num if hasattr(dataset, 'get_clip') else min(args.num, len(dataset))
    for number in tracked(range(count)):
        if isinstance(dataset, ImageFolder):
            name, picture = draw_views(dataset, number % len(dataset), number)
        elif hasattr(dataset, 'get_clip'):
            name, picture = draw_clip(dataset, number % len(dataset), number)
        else:
            name, picture = draw_video(dataset, number)
        path = out / f'{number:04d}_{name.replace("/", "_")}.png'
        if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise FileError(f'Could not write {path}; check the folder and the free space.')
    print(f'{count} pictures in {out}')


if __name__ == '__main__':
    main()
