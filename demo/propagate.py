"""Carry masks and points through a video of your own.

Writes an overlay video, palette PNGs, a COCO file, and points as JSON or in TAP-Vid's form, as you ask.
"""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import cv2
import numpy as np

from stt_mm.apis import Edits, FrameResult, ResultFiles
from stt_mm.apis.arguments import add_network_arguments, propagator_of
from stt_mm.engine.cli import Progress, between, one_line_errors, tool_parser
from stt_mm.errors import InputError
from stt_mm.utils import list_images, point_file
from stt_mm.utils.mask_file import read_mask_file
from stt_mm.utils.targets import check_file
from stt_mm.utils.video import VideoStream, open_video

WINDOW = 'stt_mm (q ends)'
EPILOG = """examples:
  python demo/propagate.py talk.mp4 --mask first.png --out out.mp4
  python demo/propagate.py frames/ --mask first.png 40:second.png --mask-dir masks
  python demo/propagate.py talk.mp4 --points 120,80 200,95 25:64,64 --points-json points.json --out out.mp4
  python demo/propagate.py talk.mp4 --mask annotations.json --masks-json result.json       (COCO, Label Studio, SA-V)
  python demo/propagate.py 0 --points 320,240 --show --max-frames 1000       (camera 0)
  python demo/propagate.py talk.mp4 --mask first.png 40:corrected.png --direction both --mask-dir masks
  python demo/propagate.py talk.mp4 --mask first.png --delete 60:2 --start 0 --end 90 --out out.mp4

A mask is an image of object ids (indexed or grey, any bit depth) or an .npy file, at the size of the frames; a part map
is a mask of part ids. A JSON file gives each object in the first frame that shows it, a TAP-Vid .npz file each point.

To correct an object or a point, give it again in a later frame: a mask with its id, or a point with its number
(40:0=120,80). The correction holds from that frame on; with --direction both, before it too."""


def labelled(text: str) -> tuple[int, str]:
    """``10:label`` is a label for frame 10, anything else one for frame 0."""
    match = re.fullmatch(r'(\d+):(.+)', text)
    return (int(match[1]), match[2]) if match else (0, text)


def mask(text: str) -> tuple[int, str]:
    """``[FRAME:]file``."""
    before, colon, _ = text.partition(':')
    if colon and not before.isdecimal() and not os.path.exists(text) and not os.path.dirname(before):
        raise argparse.ArgumentTypeError(
            f'{before!r} is no frame number; expected FILE or FRAME:FILE such as 10:second.png, got {text!r}'
        )
    return labelled(text)


class Point(NamedTuple):
    """A point that is given; with the number of one that is followed already, a correction."""

    frame: int
    number: int | None
    place: tuple[float, float]


def point(text: str) -> Point | Path:
    """``[FRAME:][NUMBER=]x,y``, or a file of points."""
    if text.lower().endswith('.npz'):
        return Path(text)
    frame, position = labelled(text)
    number, sign, place = position.rpartition('=')
    try:
        x, y = (float(side) for side in place.split(','))
        return Point(frame, int(number) if sign else None, (x, y))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no point; expected x,y or FRAME:x,y such as 10:120,80, or FRAME:NUMBER=x,y to correct one'
        ) from None


def deleted(text: str) -> tuple[int, int]:
    """``FRAME:NUMBER``."""
    match = re.fullmatch(r'(\d+):(\d+)', text)
    if match is None:
        raise argparse.ArgumentTypeError(f'expected FRAME:NUMBER such as 60:2, got {text!r}')
    return int(match[1]), int(match[2])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('video', help='video file, folder of frames, or number of a camera')
    parser.add_argument(
        '--mask',
        nargs='+',
        action='extend',
        default=[],
        type=mask,
        metavar='[FRAME:]FILE',
        help='mask of the objects that are new in FRAME (default: 0), or one JSON file for all frames',
    )
    parser.add_argument(
        '--points',
        nargs='+',
        action='extend',
        default=[],
        type=point,
        metavar='[FRAME:][NUMBER=]X,Y',
        help='points to follow from FRAME on (default: 0), in pixels from the upper left, or one .npz file; NUMBER= '
        'corrects a point, counted from 0 by frame and in the order given within it',
    )
    for name, what, metavar in (
        ('delete', 'objects', 'FRAME:ID'),
        ('delete-points', 'points', 'FRAME:NUMBER'),
    ):
        parser.add_argument(
            f'--{name}',
            nargs='+',
            action='extend',
            default=[],
            type=deleted,
            metavar=metavar,
            help=f'{what} to stop following from FRAME on',
        )
    parser.add_argument(
        '--direction',
        choices=('forward', 'backward', 'both'),
        default='forward',
        help='carry labels to later frames, earlier ones, or both (default: forward)',
    )
    parser.add_argument('--start', type=between(0, 10**9, int), default=0, metavar='N', help='begin with frame N')
    parser.add_argument(
        '--end', type=between(1, 10**9, int), metavar='N', help='stop before frame N (default: the end)'
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE.mp4',
        help='write the frames with the results drawn on them; or .mov, .mkv, .webm',
    )
    parser.add_argument('--mask-dir', type=Path, metavar='DIR', help='write the ids of each frame as a palette PNG')
    parser.add_argument('--overwrite', action='store_true', help='remove other masks from --mask-dir')
    parser.add_argument('--points-json', type=Path, metavar='FILE.json', help='write the points of each frame as JSON')
    parser.add_argument('--masks-json', type=Path, metavar='FILE.json', help='write the masks as COCO run lengths')
    parser.add_argument('--points-npz', type=Path, metavar='FILE.npz', help="write the points in TAP-Vid's form")
    parser.add_argument('--show', action='store_true', help='show the result in a window; q ends the run')
    parser.add_argument('--max-frames', type=int, metavar='N', help='stop after N frames (default: all)')
    parser.add_argument(
        '--fps', type=between(0.001, 100_000, float), help='frame rate of --out (default: the pace of the video, or 10)'
    )
    parser.add_argument('--alpha', type=between(0, 1, float), default=0.5, help='opacity of the objects')
    add_network_arguments(parser)
    args = parser.parse_args(argv)
    frames = [frame for frame, _ in args.mask]
    whole = [file for _, file in args.mask if is_json(file)] + [item for item in args.points if isinstance(item, Path)]
    for file in whole:
        if len(args.points if isinstance(file, Path) else args.mask) > 1:
            parser.error(f'{file} holds all that is given, so no other label can stand beside it')
    if len(set(frames)) < len(frames):
        parser.error('two masks are for one frame; draw their objects into one file, or name the frame: 10:second.png')
    if not args.mask and not args.points:
        parser.error('there is nothing to follow: give --mask or --points')
    if not any((args.out, args.mask_dir, args.points_json, args.masks_json, args.points_npz, args.show)):
        parser.error('say where the results go: --out, --mask-dir, --points-json, --masks-json, --points-npz or --show')
    for option, labels, what in (('masks_json', args.mask, '--mask'), ('points_npz', args.points, '--points')):
        if getattr(args, option) and not labels:
            parser.error(f'--{option.replace("_", "-")} needs {what}')
    if args.end is not None and (args.end <= args.start or args.max_frames is not None):
        parser.error('--end is a frame after --start, and takes the place of --max-frames')
    if args.fps and not args.out:
        parser.error('--fps is that of the video to write: give --out')
    if args.show and sys.platform == 'linux' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        parser.error('--show needs a screen, and there is none (DISPLAY is not set); use --out')
    return args


def is_json(file: str) -> bool:
    return file.lower().endswith('.json')


def given_masks(args: argparse.Namespace, images: list[str]) -> dict[int, str | np.ndarray]:
    """The masks by their frames; ``images`` are those of a folder of frames."""
    if not args.mask or not is_json(args.mask[0][1]):
        return dict(args.mask)
    (frame, path), file = args.mask[0], read_mask_file(args.mask[0][1])
    if frame == 0:
        return dict(file.given([Path(image).stem for image in images] or None))
    if len(file.frames) > 1:
        raise InputError(f'{path} has masks of {len(file.frames)} frames, so that {frame}: cannot stand before it.')
    return {frame: file.frames[0].ids()}


def given_points(args: argparse.Namespace) -> dict[int, np.ndarray]:
    """The points by their frames."""
    if not args.points or not isinstance(args.points[0], Path):
        return by_frame(args.points)
    if not os.path.exists(args.video):
        raise InputError(f'{args.points[0]} holds places in a picture whose size is not known yet. Give points as X,Y.')
    size = next(iter(open_video(args.video).frames))[1].shape[:2]
    return point_file.given_points(args.points[0], size)


def by_frame(points: list[Point]) -> dict[int, np.ndarray]:
    """Frame number to its new points ``[J, 2]``."""
    new = [point for point in points if point.number is None]
    return {
        frame: np.array([point.place for point in new if point.frame == frame])
        for frame in sorted({point.frame for point in new})
    }


def given_edits(args: argparse.Namespace) -> dict[int, Edits]:
    """Corrections of points and what is deleted, by the number of the frame."""
    moved = [point for point in args.points if isinstance(point, Point) and point.number is not None]
    frames = {*(point.frame for point in moved), *(frame for frame, _ in (*args.delete, *args.delete_points))}
    return {
        frame: Edits(
            {point.number: point.place for point in moved if point.frame == frame},
            *([number for other, number in gone if other == frame] for gone in (args.delete, args.delete_points)),
        )
        for frame in sorted(frames)
    }


class Run:
    """Progress, window and the ways to end a run: q in the window, or a signal, which lets the frame in work finish."""

    def __init__(
        self, stream: VideoStream, max_frames: int | None, show: bool, alpha: float, files: ResultFiles | None = None
    ) -> None:
        self.total = min((number for number in (stream.num_frames, max_frames) if number is not None), default=None)
        self.done = 0
        self.bar: Progress | None = None  # begins with the first frame: what is wrong from the start is told without it
        self.start = time.monotonic()
        self.show = show
        self.alpha = alpha
        self.files = files or ResultFiles()
        self.interrupted = False
        self.signal = 0

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupted, self.signal = True, number
        # A second one stops at once; the files are whole all the same.
        signal.signal(number, signal.default_int_handler)

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and the end of the terminal end the run, unless they are ignored (as under nohup)."""
        numbers = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]
        before = {
            number: signal.signal(number, self.interrupt)
            for number in numbers
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            Progress.end_line()
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_pass(self, done: int, total: int) -> None:
        """A frame of the passes that come before the results."""
        self.bar = self.bar or Progress(total, 'frames in two directions' if total != self.total else 'frames')
        self.bar.reach(done, total, '')
        if done == total:
            Progress.end_line()
            self.bar = None
        if self.interrupted:
            raise KeyboardInterrupt

    def on_frame(self, result: FrameResult) -> bool:
        self.bar = self.bar or Progress(self.total, 'frames')
        self.done += 1
        self.files.add(result)
        self.bar.reach(self.done, self.total, f'{self.done / (time.monotonic() - self.start):.1f} frames/s')
        if self.show:
            cv2.imshow(WINDOW, cv2.cvtColor(result.picture(self.alpha), cv2.COLOR_RGB2BGR))
            self.interrupted |= cv2.waitKey(1) & 0xFF == ord('q')
        return self.interrupted


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # What OpenCV says about a camera that cannot be opened is said in one line below.
    (cv2.setLogLevel if cv2.__version__.startswith('4.') else cv2.utils.logging.setLogLevel)(0)
    with one_line_errors():
        stream = open_video(args.video)
        images = list_images(args.video) if os.path.isdir(args.video) else []
        masks, points = given_masks(args, images), given_points(args)
        read = [file for _, file in args.mask] + [item for item in args.points if isinstance(item, Path)]
        written = {'the video': args.out, 'the masks': args.mask_dir, 'the points': args.points_json}
        written = {what: path for what, path in written.items() if path}
        for path in filter(None, (args.out, args.points_json)):
            check_file(path, read)
        files = ResultFiles(
            args.masks_json,
            args.points_npz,
            [*read, args.config, args.checkpoint, *(images or [args.video])],
            written,
            {Path(image).stem: Path(image).name for image in images},
        )
        propagator = propagator_of(args)
        max_frames = args.max_frames if args.end is None else args.end - args.start
        run = Run(stream, max_frames, args.show, args.alpha, files)
        with files, run.ended_by_signals():
            summary = propagator(
                stream,
                masks or None,
                points or None,
                out=args.out,
                mask_dir=args.mask_dir,
                points_json=args.points_json,
                fps=args.fps,
                alpha=args.alpha,
                max_frames=max_frames,
                edits=given_edits(args),
                start=args.start,
                direction=args.direction,
                progress=run.on_pass,
                on_frame=run.on_frame,
                overwrite=args.overwrite,
            )
        if run.interrupted:
            print('ended early, as asked')
        protocol = summary['protocol']
        print(
            f'{summary["frames"]} frames in {summary["seconds"]:.1f} s '
            f'({summary["frames"] / summary["seconds"]:.1f} frames/s), protocol {protocol["name"]} '
            f'v{protocol["version"]}, device {propagator.model.data_preprocessor.device}'
        )
        doubtful = ', '.join(f'{frame} ({confidence:.2f})' for frame, confidence in summary['doubtful'][:5])
        if doubtful:
            print(f'most in doubt (confidence): frame {doubtful}')
        for kind in ('out', 'mask_dir', 'points_json'):
            if summary[kind]:
                print(f'{kind}: {summary[kind]}')
        for kind in ('masks_json', 'points_npz'):
            if getattr(args, kind):
                print(f'{kind}: {getattr(args, kind)}')
        if run.signal:
            sys.exit(128 + run.signal)


if __name__ == '__main__':
    main()
