"""Carry masks and points through a video of your own: overlay video, palette PNGs and points as JSON."""

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

import cv2
import numpy as np

from stt_mm.apis import FrameResult, VideoPropagator
from stt_mm.engine.cli import Progress, add_config_options, add_weight_arguments, between, one_line_errors, tool_parser
from stt_mm.utils.video import VideoStream, open_video

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 'stt_mm (q ends)'
EPILOG = """examples:
  python demo/propagate.py talk.mp4 --mask first.png --out out.mp4
  python demo/propagate.py frames/ --mask first.png 40:second.png --mask-dir masks
  python demo/propagate.py talk.mp4 --points 120,80 200,95 25:64,64 --points-json points.json --out out.mp4
  python demo/propagate.py 0 --points 320,240 --show --max-frames 1000       (camera 0)

A mask is an image of object ids (indexed or grey, of any depth) or an .npy file of them, at the size of the frames; a
part map is a mask of part ids."""


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


def point(text: str) -> tuple[int, tuple[float, float]]:
    """``[FRAME:]x,y``."""
    frame, position = labelled(text)
    try:
        x, y = (float(number) for number in position.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no point; expected x,y or FRAME:x,y such as 10:120,80') from None
    return frame, (x, y)


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
        help='ids of the objects that are new in that frame (default: frame 0)',
    )
    parser.add_argument(
        '--points',
        nargs='+',
        action='extend',
        default=[],
        type=point,
        metavar='[FRAME:]X,Y',
        help='points to follow from that frame on (default: frame 0), in pixels from the upper left',
    )
    parser.add_argument(
        '--out', type=Path, metavar='FILE.mp4', help='write the frames with the results over them; or .mov, .mkv, .webm'
    )
    parser.add_argument('--mask-dir', type=Path, metavar='DIR', help='write the ids of each frame as a palette PNG')
    parser.add_argument('--overwrite', action='store_true', help='remove what --mask-dir holds of other masks')
    parser.add_argument('--points-json', type=Path, metavar='FILE.json', help='write the points of each frame')
    parser.add_argument('--show', action='store_true', help='show the result in a window; q ends the run')
    parser.add_argument('--max-frames', type=int, metavar='N', help='stop after N frames')
    parser.add_argument(
        '--fps', type=between(0.001, 100_000, float), help='of --out (default: the pace of the video, or 10)'
    )
    parser.add_argument('--alpha', type=between(0, 1, float), default=0.5, help='opacity of the objects')
    parser.add_argument(
        '--config',
        default=str(ROOT / 'configs' / 'eval' / 'davis_r18_s8.py'),
        help='config with the network and the protocol (default: configs/eval/davis_r18_s8.py)',
    )
    parser.add_argument(
        '--checkpoint',
        default=str(ROOT / 'demo' / 'stt_r18_demo-15906475.pth'),
        help='weights of the backbone, or "none" (default: the checkpoint in demo/)',
    )
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: the first GPU if there is one)')
    add_config_options(parser, text='override config values, e.g. model.propagator.protocol.short_side=360')
    add_weight_arguments(parser)
    args = parser.parse_args(argv)
    frames = [frame for frame, _ in args.mask]
    if len(set(frames)) < len(frames):
        parser.error('two masks are for one frame; draw their objects into one file, or name the frame: 10:second.png')
    if not args.mask and not args.points:
        parser.error('there is nothing to follow: give --mask or --points')
    if not (args.out or args.mask_dir or args.points_json or args.show):
        parser.error('say where the results go: --out, --mask-dir, --points-json or --show')
    if args.fps and not args.out:
        parser.error('--fps is that of the video to write: give --out')
    if args.show and sys.platform == 'linux' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        parser.error('--show needs a screen, and there is none (DISPLAY is not set); use --out')
    return args


def by_frame(points: list[tuple[int, tuple[float, float]]]) -> dict[int, np.ndarray]:
    """Frame number to its points ``[J, 2]``."""
    return {
        frame: np.array([position for other, position in points if other == frame])
        for frame in sorted({frame for frame, _ in points})
    }


class Run:
    """Progress, window and the ways to end a run: q in the window, or a signal, which lets the frame in work finish."""

    def __init__(self, stream: VideoStream, max_frames: int | None, show: bool, alpha: float) -> None:
        self.total = min((number for number in (stream.num_frames, max_frames) if number is not None), default=None)
        self.done = 0
        self.bar: Progress | None = None  # begins with the first frame: what is wrong from the start is told without it
        self.start = time.monotonic()
        self.show = show
        self.alpha = alpha
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

    def on_frame(self, result: FrameResult) -> bool:
        self.bar = self.bar or Progress(self.total, 'frames')
        self.done += 1
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
        checkpoint = None if args.checkpoint == 'none' else args.checkpoint
        propagator = VideoPropagator(
            args.config,
            checkpoint,
            args.device,
            args.cfg_options,
            args.trust_checkpoint,
            args.allow_partial,
            args.prefix,
            args.allow_other_geometry,
        )
        run = Run(stream, args.max_frames, args.show, args.alpha)
        with run.ended_by_signals():
            summary = propagator(
                stream,
                dict(args.mask) or None,
                by_frame(args.points) or None,
                out=args.out,
                mask_dir=args.mask_dir,
                points_json=args.points_json,
                fps=args.fps,
                alpha=args.alpha,
                max_frames=args.max_frames,
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
        for kind in ('out', 'mask_dir', 'points_json'):
            if summary[kind]:
                print(f'{kind}: {summary[kind]}')
        if run.signal:
            sys.exit(128 + run.signal)


if __name__ == '__main__':
    main()
