"""Check masks for a benchmark's server, and pack them if nothing is wrong.

Every listed frame, and no other, must be there at its original size, as an indexed or grey PNG. Its ids must be objects
of the video that have appeared by then. Lists every fault with its file.
"""

import argparse
import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from stt_mm.datasets import DAVIS, VideoBenchmark, YouTubeVOSBenchmark
from stt_mm.engine.cli import one_line_errors, tool_parser, tracked
from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.mask_folder import ExpectedMasks, check_extra, check_video, check_zip, expected_masks, given_births
from stt_mm.utils.targets import check_apart, check_file
from stt_mm.utils.text import absent

EPILOG = """examples:
  python tools/make_submission.py masks data/DAVIS --task davis17-test-dev --out test-dev.zip
  python tools/make_submission.py masks data/YouTubeVOS --task ytv18 --out ytv18.zip
  python tools/make_submission.py ytv18.zip data/YouTubeVOS --task ytv18 --check-only

PRED holds <video>/<frame>.png. With --check-only, it may be a zip file as the server wants it: sequences at its root
for DAVIS, Annotations/<video>/<frame>.png for YouTube-VOS. If there are faults, nothing is packed and the exit code is
1."""

# What stands before the videos in the zip.
TOPS = {'davis17-test-dev': '', 'ytv18': 'Annotations/', 'ytv19': 'Annotations/'}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('pred', metavar='PRED', type=Path, help='folder of masks; with --check-only, also a zip file')
    parser.add_argument('data_root', metavar='DATA_ROOT', help='folder of the data set, in its official layout')
    parser.add_argument('--task', required=True, choices=TOPS, help='benchmark that the masks are for')
    parser.add_argument('--out', type=Path, metavar='FILE.zip', help='zip file to write')
    parser.add_argument('--check-only', action='store_true', help='only list the faults')
    parser.add_argument('--split', help='split of the data set (default: test-dev for DAVIS, valid for YouTube-VOS)')
    args = parser.parse_args(argv)
    if (args.out is None) != args.check_only:
        parser.error('give either --out FILE.zip or --check-only')
    if args.out is not None and args.out.suffix.lower() != '.zip':
        parser.error(f'a submission is a .zip file, got --out {args.out}')
    if args.pred.suffix.lower() == '.zip' and not args.check_only:
        parser.error(f'{args.pred} is a zip file already; --check-only checks it')
    return args


def build_dataset(args: argparse.Namespace) -> VideoBenchmark:
    if args.task == 'davis17-test-dev':
        return DAVIS(args.data_root, split=args.split or 'test-dev')
    return YouTubeVOSBenchmark(args.data_root, year=2000 + int(args.task[-2:]), split=args.split or 'valid')


def check(folder: Path, videos: dict[str, ExpectedMasks]) -> list[str]:
    """All faults of the masks below a folder; shows a progress bar."""
    return [fault for name, video in tracked(videos.items()) for fault in check_video(folder / name, video)[1]]


def pack(path: Path, files: Mapping[str, Path]) -> None:
    """Writes files, by their names inside, into a zip, whole or not at all; the same files give the same bytes."""
    check_file(path, files.values())
    with io.BytesIO() as buffer:
        # PNGs are compressed already.
        with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_STORED) as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name), files[name].read_bytes())
        write_atomically(buffer.getvalue(), path)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    top = TOPS[args.task]
    with one_line_errors():
        if args.out is not None:
            check_apart(args.out, [args.pred, args.data_root])
        samples = (item['data_samples'].to_dict() for item in build_dataset(args))
        videos = {sample['video_id']: expected_masks(sample, given_births(sample['given_masks'])) for sample in samples}
        if args.pred.suffix.lower() == '.zip':
            videos = {top + video: expected for video, expected in videos.items()}
            with tempfile.TemporaryDirectory() as folder:
                faults = check_zip(args.pred, videos, folder)
                faults += [fault.replace(folder, str(args.pred)) for fault in check(Path(folder), videos)]
        elif args.pred.is_dir():
            faults = check(args.pred, videos) + check_extra(args.pred, videos)
        else:
            raise MissingInputError(f'{absent(args.pred, "folder")} nor zip file. Expected <video>/<frame>.png in it.')
        for fault in faults:
            print(fault)
        masks = [f'{video}/{name}.png' for video, expected in videos.items() for name in expected.frames]
        what = f'{len(masks)} masks of {len(videos)} videos'
        if faults:
            raise InputError(f'{len(faults)} faults in {args.pred}, listed above; {what} are expected')
        if args.check_only:
            print(f'{args.pred}: {what}, no faults')
            return
        pack(args.out, {top + mask: args.pred / mask for mask in masks})
        print(f'{args.out}: {what}')


if __name__ == '__main__':
    main()
