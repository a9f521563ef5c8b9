"""A step of label propagation as the engine does it, as the research code does it, and what its products cost.

The features are those of a ResNet-18, the bundled one and an untrained one, for a video of 22 frames of 480 x 854, 21
of them in the memory. The forms are timed at stride 8 (square window of radius 12) and at stride 4 (radius 35), and, if
asked for by --strides 16, under dinov3_davis_l, with drawn features of 384 channels, frames of 1440 x 2560, and 8 of
them in the memory:

engine    top-k attention as shipped; what it takes depends on the features where bounds spare products
plain     the same with all products, tile by tile, as the engine does it on a GPU and without a C compiler
dense     all pairs of 32 queries at a time, a mask over all pairs, one top-k over all keys of all frames
floor     only the matrix products of the queries with the cells around them, in the fastest order that was found;
          nothing is selected or read

All have 4 labels; the engine is timed with other numbers of them as well. Memory is what a step needs besides features
and labels of the memory (for dense, with its mask).
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from benchmarks.common import measured
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import Tensor

from stt_mm.engine.cli import between
from stt_mm.models import load_for_evaluation
from stt_mm.ops import Plan, Vote, Voters, Window, plan_for_memory, propagate_many
from stt_mm.ops.windows import tiles
from stt_mm.registry import MODELS
from stt_mm.utils import FrameSequence, list_images
from stt_mm.utils.config_path import config_path

FRAMES = 22
SIZE = (480, 854)
CLIP = Path(__file__).parents[2] / 'demo' / 'data' / 'davis' / 'JPEGImages' / '480p' / 'bus'
RULES = {
    8: (Window('square', 12), Vote('topk', 0.07, 10)),
    4: (Window('square', 35), Vote('topk', 0.07, 10)),
    16: (Window('circle', 12), Vote('topk', 0.2, 5, 'kept')),
}
DRAWN = {16: (9, 90, 160, 384)}
WEIGHTS = {'demo': 'stt_r18_demo', 'untrained': None}
CHUNK = 32
# The dense form at strides 4 and 16 is timed on every 16th chunk of queries, and multiplied.
SHARE = {8: 1, 4: 16, 16: 16}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--strides', type=int, nargs='+', default=(8, 4), choices=(8, 4, 16), help='of the features')
    parser.add_argument(
        '--weights', nargs='+', default=tuple(WEIGHTS), choices=tuple(WEIGHTS), help='of the network at strides 8, 4'
    )
    parser.add_argument('--labels', type=between(1), nargs='+', default=(1, 10, 50), help='numbers of labels')
    parser.add_argument('--amp', action='store_true', help='features in bfloat16, matched in it, weighed in float32')


def build(stride: int, weights: str, device: str) -> torch.nn.Module:
    """A ResNet-18 of this stride with the size of frames that is measured."""
    model = MODELS.build(Config.fromfile(config_path(f'eval/davis_r18_s{stride}')).model)
    load_for_evaluation(model, WEIGHTS[weights], allow_other_geometry=True)
    model.propagator.protocol = model.propagator.protocol.change(dict(short_side=None, size=SIZE))
    return model.to(device).eval()


def extract(stride: int, weights: str, device: str) -> Tensor:
    """Normalised features of the clip, ``[T, H, W, C]``, on the CPU; drawn ones at stride 16."""
    torch.manual_seed(0)
    if stride in DRAWN:
        return torch.nn.functional.normalize(torch.randn(DRAWN[stride]), dim=-1)
    model = build(stride, weights, device)
    features = torch.stack([model.feature(image) for image in FrameSequence(list_images(CLIP)[:FRAMES])])
    return torch.nn.functional.normalize(features, dim=1).permute(0, 2, 3, 1).cpu()


def query_and_memory(features: Tensor) -> tuple[Tensor, Tensor]:
    """The last frame ``[H, W, C]``, and those before it as a memory ``[H, W, T, C]``."""
    return features[-1].contiguous(), features[:-1].permute(1, 2, 0, 3).contiguous()


def engine(
    query: Tensor, memory: Tensor, labels: Tensor, window: Window, vote: Vote, bounds: bool
) -> Callable[[], object]:
    """What the propagator runs, or the same with all products; labels ``[H, W, T, K]``."""
    height, width, frames, _ = memory.shape
    side, together = 8, 1
    if query.is_cuda:
        free = torch.cuda.mem_get_info()[0] // 4
        side, together = plan_for_memory((height, width), [(window, frames)], memory.element_size(), free, 16)
    plan = Plan((height, width), [window], side, together, query.device)
    voters = [Voters(labels.permute(2, 3, 0, 1), [[1] * frames])]
    query, keys = query.permute(2, 0, 1), memory.permute(2, 3, 0, 1)
    return lambda: propagate_many(query, keys, voters, plan, vote, bounds=bounds)


def dense_mask(height: int, width: int, window: Window, device: str) -> Tensor:
    """bool ``[HW, HW]``, True outside the window."""
    rows, columns = (torch.arange(side, device=device) for side in (height, width))
    down, right = rows[:, None] - rows, columns[:, None] - columns
    return window.outside(down[:, None, :, None], right[None, :, None, :]).view(height * width, -1)


def dense(query: Tensor, keys: Tensor, labels: Tensor, outside: Tensor, vote: Vote, share: int) -> Tensor:
    """All pairs, 32 queries at a time; ``query`` ``[HW, C]``, ``keys`` ``[C, T, HW]``, ``labels`` ``[T * HW, K]``."""
    outs = []
    for start in range(0, len(query), CHUNK * share):
        block = query[start : start + CHUNK]
        scores = torch.einsum('qc,ctk->qtk', block, keys)
        scores = scores.masked_fill_(outside[start : start + CHUNK, None], -torch.inf).flatten(1)
        best, index = scores.topk(vote.topk, dim=1)
        weights = (best.float() / vote.temperature).softmax(1)
        outs.append((weights[..., None] * labels[index]).sum(1))
    return torch.cat(outs)


def floor(query: Tensor, memory: Tensor, radius: int) -> None:
    """The products alone."""
    height, width, _, channels = memory.shape
    side = 8 if query.device.type == 'cpu' else 16
    for rows, columns in tiles(height, width, side):
        block = query[rows, columns].flatten(0, 1)
        near = memory[
            max(rows.start - radius, 0) : rows.stop + radius, max(columns.start - radius, 0) : columns.stop + radius
        ]
        torch.bmm(near.flatten(1, 2), block.t().expand(len(near), channels, len(block)))


def prepare(name: str, args: argparse.Namespace) -> Callable[[], object]:
    """A form with the features of a file and a number of labels, ``<form> <stride> <file> <labels>``."""
    form, stride, file, channels = name.split()
    window, vote = RULES[int(stride)]
    features = torch.from_numpy(np.load(args.folder / f'{file}.npy'))
    query, memory = query_and_memory(features.to(args.device, torch.bfloat16 if args.amp else torch.float32))
    height, width, frames, _ = memory.shape
    labels = torch.rand(height, width, frames, int(channels), device=args.device)
    if form in ('engine', 'plain'):
        return engine(query, memory, labels, window, vote, bounds=form == 'engine')
    if form == 'floor':
        return lambda: floor(query, memory, window.reach)
    keys = memory.permute(3, 2, 0, 1).flatten(2).contiguous()
    labels = labels.permute(2, 0, 1, 3).flatten(0, 2)
    query = query.flatten(0, 1)
    outside = dense_mask(height, width, window, args.device)
    return lambda: dense(query, keys, labels, outside, vote, SHARE[int(stride)])


def run(args: argparse.Namespace) -> Iterator[dict]:
    """The rows of each stride."""
    torch.set_num_threads(args.threads)
    init_default_scope('stt_mm')
    MMLogger.get_instance('benchmark', log_level='ERROR')
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        for stride in args.strides:
            kinds = ['drawn'] if stride in DRAWN else args.weights
            shapes = [write(stride, kind, args) for kind in kinds]
            rows = {} if stride in DRAWN else {'backbone, one frame': measured(backbone, str(stride), args)}

            def form(form: str, kind: str = kinds[0], labels: int = 4, stride: int = stride) -> tuple[float, int]:
                return measured(prepare, f'{form} {stride} {kind} {labels}', args)

            rows |= {name: form(name) for name in ('floor', 'dense', 'plain')}
            seconds, memory = rows['dense']
            rows['dense'] = seconds * SHARE[stride], memory + (shapes[0][1] * shapes[0][2]) ** 2 // 2**20
            rows |= {f'engine, {kind}': form('engine', kind) for kind in kinds}
            rows |= {f'engine, {kinds[0]}, {n} labels': form('engine', labels=n) for n in args.labels if n != 4}
            for part, (seconds, memory) in rows.items():
                ratios = {f'of {name}': seconds / rows[name][0] for name in ('floor', 'plain', 'dense')}
                yield dict(part=f'stride {stride}, {part}', seconds=seconds, MiB=memory, **ratios)


def write(stride: int, kind: str, args: argparse.Namespace) -> torch.Size:
    """Write features for :func:`prepare`; returns their shape."""
    features = extract(stride, kind, args.device)
    np.save(args.folder / f'{kind}.npy', features)
    return features.shape


def backbone(name: str, args: argparse.Namespace) -> Callable[[], object]:
    """Features of one frame."""
    model = build(int(name), 'untrained', args.device)
    frame = torch.rand(3, *SIZE)
    return lambda: model.feature(frame)
