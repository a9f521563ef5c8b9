"""Copy DAVIS at 480 x 880, on which RSP, CropMAE and T-CoRe report scores.

As RSP's script makes it: the nearest pixel by pixel centres, for frames as well, which become JPEG files of quality 75.
OUT has the layout of DAVIS: test_dataloader.dataset.data_root=OUT evaluates on it.
"""

import argparse
import hashlib
import os
import shutil
from pathlib import Path

from PIL import Image

from stt_mm.engine.cli import one_line_errors, tool_parser, tracked
from stt_mm.errors import MissingInputError, writing
from stt_mm.utils import FrameError
from stt_mm.utils.images import ImageFault, guarded
from stt_mm.utils.targets import claim_folder
from stt_mm.utils.text import check_there

EPILOG = """examples:
  python tools/dataset/make_davis_480_880.py data/DAVIS --out data/DAVIS_480_880
  python tools/dataset/make_davis_480_880.py data/DAVIS --out data/DAVIS_480_880 --overwrite
"""
SIZE = 880, 480  # width and height
LAYOUT = '<data_root>/JPEGImages/480p/<video>/00000.jpg, <data_root>/Annotations/480p/<video>/00000.png and ImageSets'
ADVICE = 'Name the folder that holds all three, or complete the download.'
SUFFIXES = {'JPEGImages': ('.jpg', '.jpeg'), 'Annotations': ('.png',)}


def copy_picture(path: Path, out: Path) -> None:
    """One frame or mask at the other size; a mask keeps its palette.

    Raises:
        FrameError: the file cannot be decoded.
    """

    def resized() -> Image.Image:
        with Image.open(path) as picture:
            return picture.resize(SIZE, Image.Resampling.NEAREST)

    try:
        picture = guarded(resized)
    except ImageFault as fault:
        raise FrameError(f'{path} cannot be used: {fault}. {fault.remedy}') from fault
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out)  # Pillow's own quality, 75


def pictures(data_root: Path) -> list[Path]:
    """All frames and masks below the folder of the data, relative to it."""
    found = []
    for kind, suffixes in SUFFIXES.items():
        folder = data_root / kind / '480p'
        check_there(folder, 'folder', 'DAVIS', LAYOUT, ADVICE)
        paths = [path for path in sorted(folder.glob('*/[!.]*')) if path.suffix.lower() in suffixes]
        if not paths:
            raise MissingInputError(f'DAVIS: no {" or ".join(suffixes)} files in the folders of {folder}. {ADVICE}')
        found += [path.relative_to(data_root) for path in paths]
    return found


def state(data_root: Path, paths: list[Path]) -> str:
    """Short digest of the names, sizes and times of all files that are copied, frames, masks and lists."""
    lists = [path.relative_to(data_root) for path in sorted((data_root / 'ImageSets').rglob('*')) if path.is_file()]
    stats = [(str(path), os.stat(data_root / path)) for path in [*paths, *lists]]
    text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('data_root', type=Path, help='folder of DAVIS, with JPEGImages, Annotations and ImageSets')
    parser.add_argument('--out', type=Path, required=True, help='folder for the copy')
    parser.add_argument('--overwrite', action='store_true', help='replace another copy')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        lists = args.data_root / 'ImageSets'
        check_there(lists, 'folder', 'DAVIS', LAYOUT, ADVICE)
        paths = pictures(args.data_root)
        owner = f'the copy at 480 x 880 of {args.data_root.resolve()} (state {state(args.data_root, paths)})'
        claim_folder(args.out, owner, ('.jpg', '.jpeg', '.png', '.txt'), [args.data_root], args.overwrite)
        for path in tracked(paths):
            copy_picture(args.data_root / path, args.out / path)
        with writing(args.out):
            shutil.copytree(lists, args.out / 'ImageSets', dirs_exist_ok=True)
        print(f'{len(paths)} frames and masks in {args.out}')


if __name__ == '__main__':
    main()
