"""Turn videos into folders of frames, which training reads many times faster.

Writes OUT/<video name>/00000.jpg, 00001.jpg, ... for the dataset VideoFolder.
"""

import argparse
import shutil
from pathlib import Path

import cv2

from stt_mm.engine.cli import between, one_line_errors, tool_parser, tracked
from stt_mm.errors import FileError, MissingInputError
from stt_mm.utils import FrameError, FrameSequence, VideoReader
from stt_mm.utils.targets import MARK, check_distinct, check_folder, claim_folder, inside, state_of
from stt_mm.utils.text import absent

EPILOG = """examples:
  python tools/extract_frames.py videos/*.mp4 --out data/frames
  python tools/extract_frames.py talk.mkv --out data/frames --every 5 --short-side 256 --max-frames 300
"""


SUFFIX = '.jpg'
ACCEPT = 'To accept the frames before, name this file alone, with --max-frames {}.'


def owner(video: Path, args: argparse.Namespace) -> str:
    """What the folder of a video's frames is for; other frames of the video are another result."""
    rest = '' if args.max_frames is None else f', {args.max_frames} files'
    what = f'every {args.every}, short side {args.short_side}, quality {args.quality}'
    return f'frames of {state_of(video)}, {what}{rest}'


def extract(video: Path, out: Path, args: argparse.Namespace) -> int:
    """Write frames of one video as JPEG files, and count these; frames below the short side keep their size.

    The folder is there when all of them are: until then they are in a hidden one beside it, which no data set reads.

    Raises:
        FrameError: the video cannot be decoded, is cut off, or changes its size.
    """
    reader = VideoReader(video)
    frames = FrameSequence(video, index=reader.index)
    indices = range(0, len(reader), args.every)[: args.max_frames]
    if len(indices) != args.max_frames and not reader.index.whole:
        raise FrameError(
            f'{video} is cut off or damaged after {len(reader)} frames. Get the file again. '
            f'{ACCEPT.format(len(indices))}'
        )
    check_folder(out, owner(video, args), SUFFIX, [video], args.overwrite)
    part = out.with_name(f'.{out.name}.part')
    claim_folder(part, owner(video, args), SUFFIX, [video], overwrite=True)
    try:
        for number, index in enumerate(indices):
            try:
                frame = cv2.cvtColor(frames[index], cv2.COLOR_RGB2BGR)
            except FrameError as fault:
                told = f'{str(fault).rstrip(".")}. {ACCEPT.format(number)}'
                raise FrameError(told if number else str(fault)) from fault
            scale = args.short_side / min(frame.shape[:2])
            if scale < 1:
                frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            path = part / f'{number:05d}{SUFFIX}'
            if not cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, args.quality]):
                raise FileError(f'Cannot write {path}.')
        claim_folder(out, owner(video, args), SUFFIX, [video], args.overwrite)
        if [path.name for path in out.iterdir()] == [MARK]:
            (out / MARK).unlink()
            part.rename(out)  # all at once
        else:
            for path in sorted(part.iterdir()):
                path.replace(out / path.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(indices)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('videos', nargs='+', type=Path, help='video files')
    parser.add_argument('--out', type=Path, required=True, help='where to write one folder per video')
    parser.add_argument('--every', type=between(1), default=1, metavar='N', help='keep every N-th frame')
    parser.add_argument(
        '--short-side', type=between(1), default=256, metavar='PIXELS', help='shrink larger frames to this short side'
    )
    parser.add_argument('--max-frames', type=between(1), metavar='N', help='at most N frames per video (default: all)')
    parser.add_argument('--quality', type=between(1, 100), default=90, help='JPEG quality, 1 to 100')
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='remove frames that another video of this name, or other options, left',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        for video in args.videos:
            if not video.is_file():
                raise MissingInputError(f'Video: {absent(video, "file")}.')
        targets = {video: inside(args.out, video.stem) for video in args.videos}
        check_distinct({str(video): out for video, out in targets.items()})
        for video, out in targets.items():
            check_folder(out, owner(video, args), SUFFIX, args.videos, args.overwrite)
        total, faults = 0, []
        for video, out in tracked(targets.items()):
            try:
                total += extract(video, out, args)
            except FrameError as fault:
                faults.append(fault)
        print(f'{total} frames of {len(targets) - len(faults)} videos in {args.out}')
        if faults:
            raise FrameError(' '.join(map(str, faults)))


if __name__ == '__main__':
    main()
