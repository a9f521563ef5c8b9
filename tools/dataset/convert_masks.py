"""Convert the masks of a video between formats, or make a data set of them."""

import argparse
import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from stt_mm.engine.cli import one_line_errors, tool_parser, tracked
from stt_mm.errors import FileError, InputError, MissingInputError, writing
from stt_mm.utils import list_images, read_mask, write_mask
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.mask_file import MaskFileWriter, read_mask_file
from stt_mm.utils.targets import check_apart, check_file, claim_folder, state_of
from stt_mm.utils.text import absent, check_name, read_json, read_names

EPILOG = """examples:
  python tools/dataset/convert_masks.py instances_default.json masks --frames talk   (CVAT, Label Studio, SA-V to PNG)
  python tools/dataset/convert_masks.py masks result.json                            (PNG to COCO)
  python tools/dataset/convert_masks.py project.json my_data --layout davis --frames talk
  python tools/dataset/convert_masks.py project.json my_data --layout ytv --frames talk

MASKS is a JSON file (COCO, Label Studio, SA-V) or a folder of <frame>.png with object ids. OUT is a .json file in
COCO's format or a folder of <frame>.png. With --layout, the video is added to the data set in OUT: its frames, its
masks, and a line in ImageSets/2017/val.txt (DAVIS) or an entry in train/meta.json (YouTube-VOS)."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('masks', type=Path, metavar='MASKS', help='JSON file or folder of masks')
    parser.add_argument('out', type=Path, metavar='OUT', help='.json file, folder of masks, or folder of a data set')
    parser.add_argument('--frames', type=Path, metavar='DIR', help='images of the video, to name the masks after')
    parser.add_argument('--layout', choices=('davis', 'ytv'), help='add the video to a data set in this layout')
    parser.add_argument('--video', metavar='NAME', help='name of the video in the data set (default: name of DIR)')
    parser.add_argument(
        '--skip-empty', action='store_true', help='leave out images without any annotation in the JSON file'
    )
    parser.add_argument('--overwrite', action='store_true', help='remove other masks from the folder OUT')
    args = parser.parse_args(argv)
    if args.layout and args.frames is None:
        parser.error('--layout needs --frames: a data set holds the images as well')
    if args.video and not args.layout:
        parser.error('--video is the name in a data set: give --layout')
    if args.layout and args.overwrite:
        parser.error('--overwrite is for a folder of masks; a data set keeps its videos')
    return args


class Masks(Collection):
    """The masks of a video by the name of their frame, each read when it is asked for.

    Attributes:
        names: of the frames that have a mask, in order.
        objects: what objects are called, by id, as far as that is known.
    """

    def __init__(self, source: Path, images: list[str], skip_empty: bool) -> None:
        self.objects: dict[int, str] = {}
        stems = [Path(image).stem for image in images]
        if source.is_dir():
            self._files = {Path(path).stem: path for path in list_images(source) if path.lower().endswith('.png')}
            self._frames = {}
            if strange := sorted(self._files.keys() - set(stems)) if stems else ():
                raise InputError(f'{source} has a mask of {strange[0]}, but --frames has no such image.')
            names = list(self._files)
        elif source.is_file():
            file = read_mask_file(source)
            found = file.numbered(stems or None)
            # Without images the names of the file are kept.
            self._frames = {stems[t] if stems else frame.name: frame for t, frame in found.items()}
            if skip_empty:
                self._frames = {name: frame for name, frame in self._frames.items() if frame.objects}
            self.objects, names = dict(file.names), list(self._frames)
        else:
            raise MissingInputError(f'{absent(source, "file")}. Expected a JSON file, or a folder of <frame>.png.')
        if not names:
            raise InputError(f'{source} holds no masks. Expected <frame>.png, or a JSON file.')
        self.names = names
        if not any(ids.any() for _, ids in self):
            raise InputError(f'{source} shows no object: all its masks are empty. Expected pixels of at least one.')

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        for name in self.names:
            yield name, self._frames[name].ids() if name in self._frames else read_mask(self._files[name])


def convert(masks: Masks, args: argparse.Namespace, images: list[str]) -> None:
    """Into a COCO file, or a folder of masks."""
    files = {Path(image).stem: Path(image).name for image in images}
    if args.out.suffix.lower() == '.json':
        check_file(args.out, [args.masks, *images])
        with MaskFileWriter(args.out, masks.objects) as file:
            for number, (name, ids) in enumerate(tracked(masks)):
                file.add(files.get(name, f'{name}.jpg'), ids, list(files).index(name) if files else number)
        return
    owner = f'masks of {state_of(args.masks)}'
    claim_folder(args.out, owner, '.png', [args.masks, *images], args.overwrite)
    for name, ids in tracked(masks):
        write_mask(args.out / f'{name}.png', ids)


def add_video(masks: Masks, args: argparse.Namespace, images: list[str]) -> None:
    """Into a data set in the layout of DAVIS-2017 val, or of YouTube-VOS train."""
    video = args.video or args.frames.resolve().name
    check_name(video, '--video')
    if args.layout == 'davis' and len(video.split()) != 1:
        raise InputError(f'Lists of videos have names without spaces, got {video!r}. Give another one by --video.')
    top, level = (args.out, '480p') if args.layout == 'davis' else (args.out / 'train', '')
    folders = [top / kind / level / video for kind in ('JPEGImages', 'Annotations')]
    for folder in folders:
        check_apart(folder, [args.masks, args.frames])
        if folder.exists():
            raise FileError(f'{folder} exists. Name another video by --video, or remove it.')
    meta = read_json(top / 'meta.json') if args.layout == 'ytv' and (top / 'meta.json').is_file() else dict(videos={})
    if not isinstance(meta, dict) or not isinstance(meta.get('videos'), dict):
        raise InputError(
            f'{top / "meta.json"} is not that of YouTube-VOS: it has no videos. Give another folder as OUT.'
        )
    shown: dict[int, list[str]] = {}
    for name, ids in tracked(masks):
        write_mask(folders[1] / f'{name}.png', ids)
        for number in np.unique(ids[ids > 0]).tolist():
            shown.setdefault(number, []).append(name)
    folders[0].mkdir(parents=True)
    for image in images:
        with writing(folders[0]):
            shutil.copy(image, folders[0])
    if args.layout == 'davis':
        listing = args.out / 'ImageSets' / '2017' / 'val.txt'
        before = listing.read_text(encoding='utf-8') if listing.is_file() else ''
        if not before or video not in read_names(listing):
            gap = '\n' if before and not before.endswith('\n') else ''
            write_atomically(f'{before}{gap}{video}\n'.encode(), listing)
        return
    path = top / 'meta.json'
    meta['videos'][video] = dict(
        objects={str(k): dict(category=masks.objects.get(k), frames=names) for k, names in sorted(shown.items())}
    )
    write_atomically(f'{json.dumps(meta, indent=2)}\n'.encode(), path)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        images = []
        if args.frames is not None:
            if not args.frames.is_dir():
                raise MissingInputError(f'{absent(args.frames, "folder")}. Expected the images of the video.')
            images = list_images(args.frames)
            if not images:
                raise MissingInputError(f'{args.frames} holds no images.')
        masks = Masks(args.masks, images, args.skip_empty)
        (add_video if args.layout else convert)(masks, args, images)
        print(f'{len(masks.names)} masks in {args.out}')


if __name__ == '__main__':
    main()
