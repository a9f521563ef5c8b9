"""Time and peak memory of a step of DetCo against one of MoCo v2, and of DetCo's parts.

Nine patches of 64 x 64 have 0.73 times the pixels of a view of 224 x 224. In the query and in the key encoder alike
DetCo has 1.73 times the pixels of MoCo v2; what it takes beyond that is told by the other rows.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.common import measured
from mmengine.model import BaseModel
from torch import Tensor, nn

from stt_mm.engine import load_config
from stt_mm.ops import split_mosaic
from stt_mm.registry import MODELS

VIEW, PATCH = 224, 64
PIXELS = 9 * PATCH**2 / VIEW**2
Part = Callable[[], None]


def build(method: str, args: argparse.Namespace) -> BaseModel:
    """The shipped model of a method, with weights at random."""
    model = MODELS.build(load_config(f'pretrain/{method}_r{args.depth}_in1k').model)
    model.init_weights()
    return model.to(args.device).train()


def images(args: argparse.Namespace, side: int) -> Tensor:
    """Normalised views ``[batch, 3, side, side]``."""
    return torch.randn(args.batch, 3, side, side, device=args.device)


def step_part(method: str, sides: tuple[int, ...]) -> Callable[[argparse.Namespace], Part]:
    """A whole iteration without the data: key encoder, query encoder, losses, queues, backward, SGD."""

    def prepare(args: argparse.Namespace) -> Part:
        model = build(method, args)
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(learning, lr=0.03, momentum=0.9, weight_decay=1e-4)
        views = [images(args, side) for side in sides]

        def run() -> None:
            loss = sum(model(views, None, mode='loss').values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    return prepare


def backbone_part(patches: bool) -> Callable[[argparse.Namespace], Part]:
    """The backbone on one kind of view: as query (forward and backward) and as key (forward)."""

    def prepare(args: argparse.Namespace) -> Part:
        backbone = build('detco', args).backbone
        view = split_mosaic(images(args, 3 * PATCH)) if patches else images(args, VIEW)

        def run() -> None:
            with torch.no_grad():
                backbone(view)
            sum(stage.mean() for stage in backbone(view)).backward()

        return run

    return prepare


def heads_part(args: argparse.Namespace) -> Part:
    """The eight MLPs on given maps, as query and as key."""
    neck = build('detco', args).neck

    def maps(count: int, side: int) -> list[Tensor]:
        sides = [-(-side // 2 ** (number + 2)) for number in range(len(neck.in_channels))]
        return [
            torch.randn(count, channels, cells, cells, device=args.device, requires_grad=True)
            for channels, cells in zip(neck.in_channels, sides, strict=True)
        ]

    def run() -> None:
        whole, parts = maps(args.batch, VIEW), maps(9 * args.batch, PATCH)
        with torch.no_grad():
            neck.project_global(whole)
            neck.project_local(parts)
        (neck.project_global(whole).sum() + neck.project_local(parts).sum()).backward()

    return run


def losses_part(args: argparse.Namespace) -> Part:
    """The 12 losses on given embeddings, forward and backward, and the 8 queues."""
    model = build('detco', args)

    def embeddings() -> dict[str, Tensor]:
        shape = (args.batch, len(model.stages), model.neck.out_channels)
        return {kind: F.normalize(torch.randn(shape, device=args.device), dim=-1) for kind in ('global', 'local')}

    def run() -> None:
        queries = {kind: found.requires_grad_() for kind, found in embeddings().items()}
        sum(model.losses(queries, embeddings()).values()).backward()

    return run


def update_part(args: argparse.Namespace) -> Part:
    """The moving average of backbone and heads."""
    model = build('detco', args)
    return lambda: model.encoder_k.update_parameters(nn.Sequential(model.backbone, model.neck))


PARTS = {
    'MoCo v2, whole step': step_part('mocov2', (VIEW, VIEW)),
    'DetCo, whole step': step_part('detco', (VIEW, VIEW, 3 * PATCH, 3 * PATCH)),
    'backbone, views': backbone_part(patches=False),
    'backbone, patches': backbone_part(patches=True),
    '8 heads': heads_part,
    '12 losses, 8 queues': losses_part,
    'moving average': update_part,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--depth', type=int, default=18, choices=(18, 50), help='ResNet depth (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=32, help='images (default: %(default)s)')
    # The first runs are slower, while the allocator grows: with three, DetCo's step came out 0.8 s longer.
    parser.add_argument('--repeats', type=int, default=7, help='runs per part (default: %(default)s)')


def prepare(name: str, args: argparse.Namespace) -> Part:
    """A part that has run once, so that nothing is set up for the first time while it is timed."""
    part = PARTS[name](args)
    part()
    return part


def run(args: argparse.Namespace) -> None:
    """Print the table of a step's parts, and how the two methods compare."""
    print(
        f'R{args.depth}, batch {args.batch}, {VIEW} x {VIEW} and 9 x {PATCH} x {PATCH}, {args.device}, '
        f'{args.threads} threads, torch {torch.__version__}; median of {args.repeats}'
    )
    print(f'{"part":<36}{"seconds":>10}{"peak MiB":>10}')
    seconds = {}
    for name in PARTS:
        seconds[name], memory = measured(prepare, name, args)
        print(f'{name:<36}{seconds[name]:>10.3f}{memory:>10.0f}', flush=True)
    ratio = seconds['DetCo, whole step'] / seconds['MoCo v2, whole step']
    patches = seconds['backbone, patches'] / seconds['backbone, views']
    print(f'DetCo against MoCo v2: {ratio:.2f} of the time; by the pixels of its views {1 + PIXELS:.2f}')
    print(f'patches against views in the backbone: {patches:.2f} of the time; by their pixels {PIXELS:.2f}')
