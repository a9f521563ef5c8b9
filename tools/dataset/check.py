"""Check a data set on disk against its official release."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import stt_mm.datasets
from stt_mm.datasets import LVOS, TAPVid
from stt_mm.datasets.badja import place_of, read_annotations
from stt_mm.datasets.davis import list_files, read_davis_list
from stt_mm.datasets.jhmdb import official_test_clips
from stt_mm.datasets.object_videos import read_ranges
from stt_mm.datasets.vip import mask_folder
from stt_mm.datasets.youtube_vos_benchmark import read_meta
from stt_mm.engine.cli import one_line_errors, tool_parser, tracked
from stt_mm.errors import MissingInputError
from stt_mm.utils import FrameError, VideoReader, list_images, natural_key, read_image, read_mask, read_object_ids
from stt_mm.utils.mask_file import read_mask_file
from stt_mm.utils.mat import read_joint_positions
from stt_mm.utils.text import absent, read_instance_categories, read_json, read_names, read_video_list

MANIFESTS = Path(stt_mm.datasets.__file__).parent / 'manifests'
EPILOG = """examples:
  python tools/dataset/check.py davis17 data/DAVIS
  python tools/dataset/check.py davis16 data/DAVIS --decode
  python tools/dataset/check.py ytv18 data/YouTubeVOS --split train
  python tools/dataset/check.py ytv19 data/YouTubeVOS2019 --all-frames
  python tools/dataset/check.py vip data/VIP/VIP_Fine --labels category
  python tools/dataset/check.py jhmdb data/JHMDB --split 1
  python tools/dataset/check.py mose data/MOSE --split train
  python tools/dataset/check.py lvos2 data/LVOS
  python tools/dataset/check.py sav data/SA-V --split val
  python tools/dataset/check.py tapvid data/tapvid_davis/tapvid_davis.pkl
  python tools/dataset/check.py badja data/BADJA --davis-root data/DAVIS

The exit code is 0 if everything is there and 1 if not. --help after a data set lists its options."""


class Report:
    """What was found, next to what the release has."""

    def __init__(self, title: str, expected: dict, decode: bool) -> None:
        self.title = title
        self.expected = expected
        self.decode = decode
        self.found: dict[str, int] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def count(self, what: str, number: int) -> None:
        self.found[what] = self.found.get(what, 0) + number

    def names(self, folder: Path) -> set[str]:
        """Files of a folder; a missing one is a problem."""
        if not folder.is_dir():
            self.problems.append(f'no folder {folder}')
            return set()
        return {name for name in os.listdir(folder) if not name.startswith('.')}

    def files(self, what: str, folder: Path, wanted: Sequence[str], read: Callable) -> bool:
        """Looks for files of one folder; those that are missing, empty or (with --decode) unreadable are problems."""
        present = self.names(folder)
        missing = [name for name in wanted if name not in present]
        if missing and present:
            self.problems.append(f'{folder}: {len(missing)} of {len(wanted)} {what} missing: {some(missing)}')
        elif missing and folder.is_dir():
            self.problems.append(f'{folder}: empty, {len(wanted)} {what} expected')
        there = [name for name in wanted if name in present]
        self.count(what, len(there))
        empty = [name for name in there if (folder / name).stat().st_size == 0]
        if empty:
            self.problems.append(f'{folder}: empty files: {some(empty)}')
        for name in there if self.decode else ():
            try:
                read(folder / name)
            except (FrameError, ValueError) as error:
                self.problems.append(f'unreadable: {error}')
        return not missing

    def show(self) -> bool:
        """Prints all of it; returns whether the dataset is complete."""
        for what, number in self.found.items():
            total = self.expected.get(f'num_{what}')
            if total is not None and number != total:
                self.problems.insert(0, f'{what}: {number} found, the release has {total}')
        print(f'\n{self.title}')
        for what, number in self.found.items():
            total = self.expected.get(f'num_{what}')
            print(f'  {what:<10}{number}' + ('' if total is None else f' of {total}'))
        for note in self.notes:
            print(f'  note: {note}')
        for problem in self.problems:
            print(f'  problem: {problem}')
        print(f'incomplete: {len(self.problems)} problems' if self.problems else 'complete')
        return not self.problems


def some(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    return ', '.join(names[:limit]) + (f' and {len(names) - limit} more' if len(names) > limit else '')


def read_list(report: Report, path: Path, read: Callable) -> list[str]:
    """The videos of a list; one that is missing, empty or no text is a problem."""
    try:
        return read(path)
    except FileNotFoundError:
        report.problems.append(f'no list {path}')
    except ValueError as error:
        report.problems.append(f'unreadable: {error}')
    return []


def check_davis(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    lists = list_files(args.root, manifest['year'], args.split, args.resolution)
    listed = read_list(report, next((path for path in lists if path.is_file()), lists[0]), read_davis_list)
    official = report.expected.get('videos')
    if official and listed and set(listed) != set(official):
        report.problems.append(
            f'the list of {args.split} differs from the release: '
            f'{some(sorted(set(listed) ^ set(official)))} in only one of the two'
        )
    for name in tracked(official or listed):
        frame_dir, mask_dir = (Path(args.root, kind, args.resolution, name) for kind in ('JPEGImages', 'Annotations'))
        frames = (
            sorted(entry for entry in report.names(frame_dir) if entry.endswith('.jpg')) if (frame_dir.is_dir()) else []
        )
        wanted = [f'{t:05d}.jpg' for t in range(official[name])] if official else frames
        complete = report.files('frames', frame_dir, wanted, read_image)
        report.count('videos', int(complete and bool(wanted)))
        if len(frames) > len(wanted):
            report.problems.append(
                f'{frame_dir}: {len(frames) - len(wanted)} frames that the release does not have: '
                f'{some(sorted(set(frames) - set(wanted)))}'
            )
        masks = [f'{Path(frame).stem}.png' for frame in wanted][: None if report.expected['masks'] == 'all' else 1]
        report.files('masks', mask_dir, masks, read_mask)
        if frames:
            check_resolution(report, frame_dir / frames[0], args.resolution)
        first = mask_dir / '00000.png'
        if manifest['year'] == 2017 and first.is_file() and first.stat().st_size:
            try:
                report.count('objects', int(read_object_ids(first).max()))
            except (FrameError, ValueError) as error:
                if not report.decode:  # which has said it already
                    report.problems.append(f'unreadable: {error}')


def check_resolution(report: Report, path: Path, resolution: str) -> None:
    """All 480p frames of DAVIS are 480 pixels high; full resolution is larger."""
    try:
        height = read_image(path).shape[0]
    except FrameError as error:
        report.problems.append(f'unreadable: {error}')
        return
    if (height == 480) != (resolution == '480p'):
        actual = '480p' if height == 480 else 'not 480p; perhaps the full resolution or a resized copy'
        report.problems.append(f'{path.parent}: frames are {height} pixels high, which is {actual}')


def check_youtube_vos(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    meta = read_meta(Path(args.root, args.split, 'meta.json'))
    counts = (len(meta), sum(map(len, meta.values())))
    for other in ('ytv18', 'ytv19'):
        release = load_manifest(other)
        numbers = release['splits'][args.split]
        if counts == (numbers['num_videos'], numbers['num_objects']):
            report.notes.append(f'meta.json is that of {release["name"]}')
            if release['year'] != manifest['year']:
                report.problems.append(f'this is {release["name"]}, not {manifest["name"]}')
    report.count('objects', counts[1])
    frame_root = Path(args.root, f'{args.split}_all_frames' if args.all_frames else args.split, 'JPEGImages')
    for video_id, objects in tracked(meta.items()):
        listed = sorted({name for entry in objects.values() for name in entry['frames']})
        births = sorted({entry['frames'][0] for entry in objects.values()})
        masks = listed if report.expected['masks'] == 'all' else births
        complete = report.files('frames', frame_root / video_id, [f'{name}.jpg' for name in listed], read_image)
        report.count('videos', int(complete))
        report.files(
            'masks', Path(args.root, args.split, 'Annotations', video_id), [f'{name}.png' for name in masks], read_mask
        )


def check_vip(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    for video_id in tracked(read_list(report, Path(args.root, 'lists', f'{args.split}_videos.txt'), read_video_list)):
        frame_dir = Path(args.root, 'Images', video_id)
        frames = [Path(path).name for path in list_images(frame_dir)] if frame_dir.is_dir() else []
        report.files('frames', frame_dir, frames, read_image)
        report.count('videos', int(bool(frames)))
        if frame_dir.is_dir() and not frames:
            report.problems.append(f'{frame_dir}: no frames')
        masks = [f'{Path(name).stem}.png' for name in frames]
        for labels in args.labels:
            folder = mask_folder(args.root, labels, video_id)
            report.files(f'{labels} masks', folder, masks, read_mask)
            if labels == 'instance' and folder.is_dir():
                lists = [f'{Path(name).stem}.txt' for name in frames]
                report.files('instance lists', folder, lists, read_instance_categories)


def check_jhmdb(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    frame_root, joint_root = Path(args.root, 'Rename_Images'), Path(args.root, 'joint_positions')
    clips = len(list(joint_root.glob('*/*/joint_positions.mat')))
    if clips != manifest['num_clips']:
        report.notes.append(
            f'{clips} of {manifest["num_clips"]} clips have joints; the test clips of split '
            f'{args.split} alone are checked'
        )
    for clip in tracked(official_test_clips(args.root, int(args.split))):
        path = joint_root / clip / 'joint_positions.mat'
        if not path.is_file():
            report.problems.append(f'no file {path}')
            continue
        try:
            joints = read_joint_positions(path)
        except ValueError as error:
            report.problems.append(f'unreadable: {error}')
            continue
        if joints.shape[1] != manifest['num_joints']:
            report.problems.append(f'{path}: {joints.shape[1]} joints, the release has {manifest["num_joints"]}')
        known = manifest['more_images_than_joints'].get(clip.split('/')[-1])
        if known is not None and known != len(joints):
            report.problems.append(f'{path}: joints of {len(joints)} frames, the release has {known}')
        wanted = [f'{t + 1:05d}.png' for t in range(len(joints))]
        report.count('videos', int(report.files('frames', frame_root / clip, wanted, read_image)))


def check_mose(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    root = Path(args.root, args.split)
    for video_id in tracked(sorted(report.names(root / 'JPEGImages'), key=natural_key)):
        check_id_maps(root, video_id, report, lambda names: names if report.expected['masks'] == 'all' else names[:1])


def check_lvos(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    root = Path(args.root, args.split)
    ranges = read_ranges(root / f'{args.split}_meta.json')
    report.count('objects', sum(map(len, ranges.values())))
    for video_id, spans in tracked(ranges.items()):

        def wanted(names: list[str], spans: dict = spans) -> list[str]:
            if report.expected['masks'] == 'births':
                return sorted({f'{first:08d}' for first, _ in spans.values()})
            numbers = {n for first, last in spans.values() for n in range(first, last, LVOS.EVERY)}
            return [f'{number:08d}' for number in sorted(numbers)]

        check_id_maps(root, video_id, report, wanted)


def check_id_maps(root: Path, video_id: str, report: Report, wanted: Callable[[list[str]], list[str]]) -> None:
    """The frames of a video in JPEGImages, and those of its masks that are ``wanted`` of its frames."""
    folder = root / 'JPEGImages' / video_id
    frames = [Path(path).name for path in list_images(folder)] if folder.is_dir() else []
    report.count('videos', int(report.files('frames', folder, frames, read_image) and bool(frames)))
    if folder.is_dir() and not frames:
        report.problems.append(f'{folder}: no frames')
    names = [Path(frame).stem for frame in frames]
    masks = [f'{name}.png' for name in wanted(names)]
    report.files('masks', root / 'Annotations' / video_id, masks, read_mask)
    if strange := sorted({Path(mask).stem for mask in masks} - set(names)):
        report.problems.append(f'{folder}: masks of frames that are not there: {some(strange)}')


def check_sav(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    root = Path(args.root, f'sav_{args.split}')
    if args.split == 'train':
        for path in tracked(sorted(root.rglob('*_manual.json'))):
            try:
                report.count('objects', len(read_mask_file(path).names))
            except ValueError as error:
                report.problems.append(f'unreadable: {error}')
            video = path.name.replace('_manual.json', '.mp4')
            report.count('videos', int(report.files('frames', path.parent, [video], VideoReader)))
        return
    for video_id in tracked(read_list(report, root / f'sav_{args.split}.txt', read_names)):
        folder, masks = root / 'JPEGImages_24fps' / video_id, root / 'Annotations_6fps' / video_id
        frames = [Path(path).name for path in list_images(folder)] if folder.is_dir() else []
        report.count('videos', int(report.files('frames', folder, frames, read_image) and bool(frames)))
        objects = sorted(report.names(masks))
        report.count('objects', len(objects))
        for name in objects:
            own = sorted(report.names(masks / name))
            report.files('masks', masks / name, own, read_mask)
            known = {Path(frame).stem for frame in frames}
            if strange := [mask for mask in own if Path(mask).stem not in known]:
                report.problems.append(f'{masks / name}: masks of frames that are not there: {some(strange)}')


def check_tapvid(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    try:
        dataset = TAPVid(str(args.root))
    except (ValueError, FileNotFoundError) as error:
        report.problems.append(f'unreadable: {error}')
        return
    for index in tracked(range(len(dataset))):
        report.count('videos', 1)
        try:
            item = dataset[index]
            for t in range(len(item['inputs']) if args.decode else 1):
                item['inputs'][t]
            report.count('frames', len(item['inputs']))
            report.count('queries', len(item['data_samples'].query_frames))
        except (FrameError, ValueError) as error:
            report.problems.append(f'unreadable: {error}')


def check_badja(args: argparse.Namespace, manifest: dict, report: Report) -> None:
    davis = args.davis_root or args.root / 'DAVIS'
    for animal, number in tracked(report.expected['animals'].items()):
        path = args.root / 'joint_annotations' / f'{animal}.json'
        try:
            entries = read_annotations(path)
            images, masks = (
                [davis / place_of(entry[f'{key}_path'], kind, path) for entry in entries]
                for key, kind in (('image', 'JPEGImages'), ('segmentation', 'Annotations'))
            )
        except FileNotFoundError:
            report.problems.append(f'no file {path}')
            continue
        except ValueError as error:
            report.problems.append(f'unreadable: {error}')
            continue
        if len(entries) != number:
            report.problems.append(f'{path}: {len(entries)} annotated frames, the release has {number}')
        ends = [int(image.stem) if image.stem.isdecimal() else 0 for image in (images[0], images[-1])]
        frames = [f'{t:05d}.jpg' for t in range(ends[0], ends[1] + 1)]
        complete = report.files('frames', images[0].parent, frames, read_image)
        masked = report.files('masks', masks[0].parent, [mask.name for mask in masks], read_mask)
        report.count('videos', int(complete and masked))


CHECKS = dict(
    davis16=check_davis,
    davis17=check_davis,
    ytv18=check_youtube_vos,
    ytv19=check_youtube_vos,
    vip=check_vip,
    jhmdb=check_jhmdb,
    mose=check_mose,
    lvos1=check_lvos,
    lvos2=check_lvos,
    sav=check_sav,
    tapvid=check_tapvid,
    badja=check_badja,
)


def load_manifest(name: str) -> dict:
    """What the release ``name`` holds."""
    return read_json(MANIFESTS / f'{name}.json')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    datasets = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')
    for name, check in CHECKS.items():
        manifest = load_manifest(name)
        splits = list(manifest['splits'])
        sub = datasets.add_parser(
            name,
            help=f'{manifest["name"]}: {", ".join(splits)}',
            description=f'{manifest["name"]}. Counts come from: {manifest["source"]}',
            formatter_class=parser.formatter_class,
        )
        sub.add_argument(
            'root',
            type=Path,
            help='pickle, or folder of pickles or videos' if check is check_tapvid else 'folder of the data set',
        )
        sub.add_argument('--split', choices=splits, default=splits[0], help='part to check')
        sub.add_argument('--decode', action='store_true', help='also read every file, to find broken ones (slower)')
        if check is check_davis:
            sub.add_argument(
                '--resolution', choices=('480p', 'Full-Resolution'), default='480p', help='folder of frames and masks'
            )
        if check is check_youtube_vos:
            sub.add_argument('--all-frames', action='store_true', help='look for the frames in <split>_all_frames')
        if check is check_badja:
            sub.add_argument('--davis-root', type=Path, metavar='DIR', help='folder of DAVIS (default: DAVIS in ROOT)')
        if check is check_vip:
            sub.add_argument(
                '--labels',
                nargs='+',
                choices=('category', 'instance'),
                default=('category', 'instance'),
                help='annotations that must be there',
            )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        if not args.root.is_dir() and not (args.dataset == 'tapvid' and args.root.is_file()):
            raise MissingInputError(f'{absent(args.root, "folder")}. Give the folder of the dataset.')
        manifest = load_manifest(args.dataset)
        report = Report(f'{manifest["name"]} {args.split} in {args.root}', manifest['splits'][args.split], args.decode)
        for what in ('videos', 'frames'):
            report.count(what, 0)
        CHECKS[args.dataset](args, manifest, report)
        complete = report.show()
    raise SystemExit(0 if complete else 1)


if __name__ == '__main__':
    main()
