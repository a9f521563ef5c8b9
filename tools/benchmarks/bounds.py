"""How many pairs of a window the bounds of label propagation leave, by the number of directions.

The features are those of `propagate`: of a ResNet-18, the bundled one and an untrained one, for the last frame of a
video of 22 frames of 480 x 854, and the 21 before it. A pair of a window is left if its bound is not below the worst of
the ten best pairs of its query, which here are known from the start. The directions are those of the engine, which uses
31.
"""

import argparse
from collections.abc import Iterator

import torch
from benchmarks.propagate import RULES, WEIGHTS, extract, query_and_memory
from matplotlib.figure import Figure
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import Tensor

from stt_mm.ops import Window
from stt_mm.ops.bounded import short_basis
from stt_mm.ops.windows import tiles
from stt_mm.visualization import write_figure

DIRECTIONS = (4, 8, 16, 24, 31, 48, 64)
SIDE = 8
# Every how many tiles are looked at.
SHARE = {8: 4, 4: 32}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--strides', type=int, nargs='+', default=(8, 4), choices=(8, 4), help='of the features')
    parser.add_argument('--weights', nargs='+', default=tuple(WEIGHTS), choices=tuple(WEIGHTS), help='of the network')
    parser.add_argument('--plot', metavar='FILE', help='draw the shares there (.png)')


def shares(query: Tensor, memory: Tensor, bases: list[Tensor], window: Window, topk: int, share: int) -> list[float]:
    """Share of the pairs of the windows that the bounds of each basis leave.

    Args:
        query: ``[H, W, C]``.
        memory: ``[H, W, T, C]``.
        bases: ``[C, n]``, orthonormal columns.
        window: of every query.
        topk: number of pairs that are to be found.
        share: every how many tiles are looked at.
    """
    height, width, _, _ = memory.shape
    left, pairs = torch.zeros(len(bases), dtype=torch.float64), 0
    shorts = [(with_rest(query, basis), with_rest(memory, basis)) for basis in bases]
    rows, columns = torch.arange(height), torch.arange(width)
    for y, x in list(tiles(height, width, SIDE))[::share]:
        near = tuple(slice(max(part.start - window.reach, 0), part.stop + window.reach) for part in (y, x))
        down, right = rows[y, None] - rows[near[0]], columns[x, None] - columns[near[1]]
        inside = ~window.outside(down[:, None, :, None], right[None, :, None, :]).flatten(0, 1)[..., None]
        products = (query[y, x].flatten(0, 1) @ memory[near].flatten(0, 2).t()).view(*inside.shape[:-1], -1)
        worst = products.where(inside, -torch.inf).flatten(1).topk(topk).values[:, -1:, None, None]
        pairs += int(inside.sum()) * memory.shape[2]
        for number, (of_query, of_memory) in enumerate(shorts):
            bounds = (of_query[y, x].flatten(0, 1) @ of_memory[near].flatten(0, 2).t()).view_as(products)
            left[number] += int(((bounds >= worst - 1e-6) & inside).sum())
    return (left / pairs).tolist()


def with_rest(features: Tensor, basis: Tensor) -> Tensor:
    """Features in a basis ``[C, n]``, and the norm of what it leaves of them: ``[..., n + 1]``."""
    short = features @ basis
    rest = features.square().sum(-1, keepdim=True) - short.square().sum(-1, keepdim=True)
    return torch.cat([short, rest.clamp(min=0).sqrt()], -1)


def run(args: argparse.Namespace) -> Iterator[dict]:
    """A row for each stride, network and number of directions."""
    torch.set_num_threads(args.threads)
    init_default_scope('stt_mm')
    MMLogger.get_instance('benchmark', log_level='ERROR')
    curves = {}
    for stride in args.strides:
        for weights in args.weights:
            query, memory = query_and_memory(extract(stride, weights, args.device))
            window, vote = RULES[stride]
            bases, rests = zip(*(short_basis(query.flatten(0, 1), number) for number in DIRECTIONS), strict=True)
            left = shares(query, memory, bases, window, vote.topk, SHARE[stride])
            curves[f'stride {stride}, {weights}'] = left
            for number, rest, share in zip(DIRECTIONS, rests, left, strict=True):
                part = f'stride {stride}, {weights}, {number} directions'
                yield {'part': part, '% of energy outside': 100 * rest, '% of pairs left': 100 * share}
    if args.plot:
        draw(curves, args.plot)


def draw(curves: dict[str, list[float]], path: str) -> None:
    """The share of pairs by the number of directions, a line for each kind of features."""
    figure = Figure(figsize=(7, 3.6), layout='constrained')
    axes = figure.subplots()
    for name, left in curves.items():
        axes.plot(DIRECTIONS, [100 * share for share in left], marker='o', label=name)
    axes.set_yscale('log')
    axes.set_xticks(DIRECTIONS)
    axes.yaxis.set_major_formatter('{x:g}')
    axes.set_xlabel('directions')
    axes.set_ylabel('% of pairs whose product is needed')
    axes.grid(alpha=0.3)
    axes.legend()
    write_figure(figure, path)
