"""Show side by side where networks find a point, and their features."""

import argparse
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.logging import MMLogger

from stt_mm.apis import Matches, VideoPropagator, find_matches
from stt_mm.apis.labels import check_inside, given_ids
from stt_mm.engine.cli import add_config_options, add_weight_arguments, between, one_line_errors, tool_parser, tracked
from stt_mm.errors import InputError
from stt_mm.utils import read_image
from stt_mm.utils.targets import check_distinct, check_file
from stt_mm.visualization import (
    RIGHT,
    UNKNOWN,
    WRONG,
    draw_heat,
    draw_mark,
    overlay,
    to_height,
    write_comparison,
    write_page,
)

EPILOG = """examples:
  python tools/analysis/show_matches.py configs/eval/davis_r18_s8.py none a.pth --frames 0.jpg 9.jpg --point 75,40
  python tools/analysis/show_matches.py configs/eval/davis_r18_s8.py a.pth --network configs/eval/davis_color.py none \\
      --frames 0.jpg 9.jpg --point 75,40 120,64 --masks 0.png 9.png --html matches.html

The points, X,Y in pixels, are in B and are looked for in A. The picture shows the softmax over all cells that the
protocol lets them match, with a ring around the best; with ground truth, the ring is green if right and red if wrong.
Below are the features of both frames: their first three joint principal components as red, green and blue."""
HEIGHT = 320


def point(text: str) -> tuple[float, float]:
    """``x,y``."""
    try:
        x, y = (float(number) for number in text.split(','))
    except ValueError:
        x = y = np.nan
    if not np.isfinite((x, y)).all():
        raise argparse.ArgumentTypeError(f'{text.strip()!r} is no point; expected two numbers x,y such as 120,80')
    return x, y


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='config with a network and a protocol')
    parser.add_argument(
        'checkpoints', nargs='*', metavar='CKPT', help='weights for it, or "none" for those it starts from'
    )
    parser.add_argument(
        '--network',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CKPT'),
        help='another network; may be repeated',
    )
    parser.add_argument('--labels', nargs='+', metavar='TEXT', help='titles of the networks, in order')
    parser.add_argument('--frames', nargs=2, required=True, type=Path, metavar=('A', 'B'), help='two frames of a video')
    parser.add_argument(
        '--point',
        nargs='+',
        action='extend',
        required=True,
        type=point,
        metavar='X,Y',
        help='points in B, to find in A',
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument('--truth', nargs='+', type=point, metavar='X,Y', help='where each point is in A')
    truth.add_argument(
        '--masks',
        nargs=2,
        type=Path,
        metavar=('A', 'B'),
        help='objects in A and B; a match on the same object is right',
    )
    parser.add_argument(
        '--tolerance',
        type=between(0, kind=float),
        metavar='PIXELS',
        help='distance from --truth that still counts as right (default: a twentieth of the shorter side)',
    )
    parser.add_argument('--whole-frame', action='store_true', help="search all of A, not only the protocol's window")
    parser.add_argument('--out', type=Path, default=Path('matches.png'), metavar='FILE.png', help='picture to write')
    parser.add_argument('--html', type=Path, metavar='FILE.html', help='also write a page that needs no other file')
    parser.add_argument('--seed', type=between(0, 2**32 - 1), default=0, help='seed of untrained networks')
    parser.add_argument('--device', help='device, such as cpu or cuda:1 (default: the first GPU if there is one)')
    add_config_options(parser, text='override values of all configs, e.g. model.propagator.protocol.short_side=320')
    add_weight_arguments(parser)
    # A point left of the frame is no option; the blank lets it be read, and refused with the size of the frame.
    given = sys.argv[1:] if argv is None else argv
    args = parser.parse_args([f' {text}' if re.match(r'-[\w.+-]+,', text) else text for text in given])
    if args.config and not args.checkpoints:
        parser.error(
            f'{args.config} needs weights: CONFIG CKPT, or CONFIG none for the network as the config starts it'
        )
    args.networks = [*((args.config, checkpoint) for checkpoint in args.checkpoints), *map(tuple, args.network)]
    if not args.networks:
        parser.error('there is no network: give CONFIG CKPT, or --network CONFIG CKPT')
    if args.labels and len(args.labels) != len(args.networks):
        parser.error(f'--labels must be one for each of {len(args.networks)} networks, got {len(args.labels)}')
    if args.truth and len(args.truth) != len(args.point):
        parser.error(f'--truth must be one for each of {len(args.point)} points, got {len(args.truth)}')
    if args.tolerance is not None and not args.truth:
        parser.error('--tolerance is a distance from --truth: give that too')
    if args.out.suffix.lower() != '.png':
        parser.error(f'the picture is a .png file, got --out {args.out}')
    if args.html and args.html.suffix.lower() not in ('.html', '.htm'):
        parser.error(f'the page is an .html file, got --html {args.html}')
    return args


@dataclass(frozen=True)
class Scene:
    """Frames, points and what is known of them; ``truth``, points of ``reference``, or ``masks``, or neither."""

    reference: np.ndarray
    target: np.ndarray
    points: np.ndarray
    truth: np.ndarray | None
    masks: list[np.ndarray] | None
    tolerance: float

    def right(self, matches: Matches) -> list[bool | None]:
        """Whether each match is right; ``None`` where nobody knows."""
        if self.truth is not None:
            return (np.linalg.norm(matches.points - self.truth, axis=1) <= self.tolerance).tolist()
        if self.masks is None:
            return [None] * len(self.points)
        found, asked = (
            mask[tuple(np.rint(points).astype(int).T[::-1])]
            for mask, points in zip(self.masks, (matches.points, self.points), strict=True)
        )
        return (found == asked).tolist()


def read_scene(args: argparse.Namespace) -> Scene:
    reference, target = (read_image(path) for path in args.frames)
    size, masks = target.shape[:2], None
    if reference.shape != target.shape:
        sizes = [
            f'{path} is {frame.shape[0]}x{frame.shape[1]}'
            for path, frame in zip(args.frames, (reference, target), strict=True)
        ]
        raise InputError(f'{" and ".join(sizes)} (height x width). Give --frames two frames of one video.')
    points, truth = np.array(args.point), None if args.truth is None else np.array(args.truth)
    check_inside(points, size, f' of --point in {args.frames[1]}')
    if truth is not None:
        check_inside(truth, size, f' of --truth in {args.frames[0]}')
    if args.masks:
        masks = [given_ids(path, str(path)) for path in args.masks]
        for path, mask in zip(args.masks, masks, strict=True):
            if mask.shape != size:
                raise InputError(
                    f'{path} is {mask.shape[0]}x{mask.shape[1]} (height x width), the frames are {size[0]}x{size[1]}. '
                    'Take the masks of these frames.'
                )
    tolerance = min(size) / 20 if args.tolerance is None else args.tolerance
    return Scene(reference, target, points, truth, masks, tolerance)


@contextmanager
def quiet() -> Iterator[None]:
    """Without MMEngine's lines on how each weight begins."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def matches_of(config: str, checkpoint: str, scene: Scene, args: argparse.Namespace) -> tuple[str, Matches]:
    """What a network finds, and what it is called by itself."""
    torch.manual_seed(args.seed)
    untrained = checkpoint.lower() == 'none'
    with quiet():
        model = VideoPropagator(
            config,
            None if untrained else checkpoint,
            args.device,
            args.cfg_options,
            args.trust_checkpoint,
            args.allow_partial,
            args.prefix,
            args.allow_other_geometry,
        ).model
    # What a config starts from may be trained.
    loaded = [module.checkpoint for module in model.modules() if getattr(module, 'report', None) is not None]
    weights = [Path(file).stem for file in (loaded if untrained else [checkpoint])]
    if not weights and list(model.parameters()):
        weights = ['untrained']
    matches = find_matches(model, scene.reference, scene.target, scene.points, args.whole_frame)
    return ', '.join([Path(config).stem, *weights]), matches


def draw(scene: Scene, found: list[Matches]) -> tuple[list, list]:
    """Rows of :func:`write_comparison`, and a caption for each picture."""
    scale = HEIGHT / scene.target.shape[0]
    reference, target = (to_height(frame, HEIGHT) for frame in (scene.reference, scene.target))
    blank, rows, captions = np.full_like(target, 255), [], []

    def marked(picture: np.ndarray, place: np.ndarray, color: tuple[int, int, int], filled: bool = False) -> np.ndarray:
        return draw_mark(picture, (place + 0.5) * scale - 0.5, color, filled)

    def heat(maps: np.ndarray, number: int, matches: Matches) -> np.ndarray:
        color = {None: UNKNOWN, True: RIGHT, False: WRONG}[scene.right(matches)[number]]
        enlarged = cv2.resize(maps[number], reference.shape[1::-1]).clip(min=0)
        return marked(draw_heat(reference, enlarged), matches.points[number], color)

    for number, place in enumerate(scene.points):
        name = f'{place[0]:g},{place[1]:g}'
        words = [
            f'weight {matches.largest[number]:.3g} at {matches.points[number][0]:.0f},{matches.points[number][1]:.0f}'
            + {None: '', True: ', right', False: ', wrong'}[scene.right(matches)[number]]
            for matches in found
        ]
        query = marked(target, place, UNKNOWN, filled=True)
        pictures = [heat(matches.weights, number, matches) for matches in found]
        rows.append((f'The point {name}, and the affinities in the other frame', [query, *pictures]))
        captions.append(['target frame', *words])
        if any(matches.gathered is not None for matches in found):
            drawn = [
                blank if matches.gathered is None else heat(matches.gathered, number, matches) for matches in found
            ]
            rows.append((f'The point {name}, affinities gathered around their peaks', [blank, *drawn]))
            captions.append(['', *('' if matches.gathered is None else 'gathered' for matches in found)])
    rows.append(('Features of the target frame', [target, *(to_height(each.target, HEIGHT) for each in found)]))
    for place in () if scene.truth is None else scene.truth:
        reference = marked(reference, place, RIGHT, filled=True)
    if scene.masks is not None:
        size = reference.shape[1::-1]
        reference = overlay(reference, cv2.resize(scene.masks[0], size, interpolation=cv2.INTER_NEAREST), 0.35)
    known = '' if scene.truth is None and scene.masks is None else ', the truth on the left'
    rows.append(
        (
            f'Features of the reference frame{known}',
            [reference, *(to_height(each.reference, HEIGHT) for each in found)],
        )
    )
    captions += [['target frame', *['components'] * len(found)], ['reference frame', *['components'] * len(found)]]
    return rows, captions


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        sources = [*args.frames, *(args.masks or ()), *(path for network in args.networks for path in network)]
        targets = {'the picture': args.out} | ({'the page': args.html} if args.html else {})
        check_distinct(targets)
        for path in targets.values():
            check_file(path, sources)
        scene = read_scene(args)
        labels, found = zip(*(matches_of(*each, scene, args) for each in tracked(args.networks)), strict=True)
        columns, (rows, captions) = ['frame', *(args.labels or labels)], draw(scene, found)
        write_comparison(args.out, rows, columns)
        if args.html:
            write_page(args.html, f'Matches of {args.frames[1]} in {args.frames[0]}', rows, columns, captions)
    for label, matches in zip(columns[1:], found, strict=True):
        places = [f'{x:.0f},{y:.0f}' for x, y in matches.points.tolist()]
        right = [place for place in scene.right(matches) if place is not None]
        print(f'{label}: {" ".join(places)}' + (f' ({sum(right)} of {len(right)} right)' if right else ''))
    print(' '.join(f'wrote {path}' for path in targets.values()))


if __name__ == '__main__':
    main()
