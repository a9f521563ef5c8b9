"""Score masks or points written by any program.

Lists every fault with its file: missing videos and frames, wrong sizes, colours instead of ids, ids of no object, extra
files. Scores are given only if there are no faults, or with --allow-faulty.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import DataLoader

from stt_mm.datasets import BADJA, DAVIS, LVOS, MOSE, SAV, VIP, TAPVid, UnscorableVideos, YouTubeVOSBenchmark
from stt_mm.engine.cli import between, one_line_errors, tool_parser, tracked
from stt_mm.errors import InputError, MissingInputError
from stt_mm.evaluation.functional.vip import NUM_CATEGORIES
from stt_mm.evaluation.metrics import (
    BADJAMetric,
    DAVISMetric,
    ObjectVideoMetric,
    TAPVidMetric,
    VideoMetric,
    VIPMetric,
    YouTubeVOSMetric,
)
from stt_mm.evaluation.metrics.dumped import POINTS as DUMPED
from stt_mm.evaluation.metrics.dumped import TRACKS, read_dumped_points
from stt_mm.utils import list_images, read_object_ids
from stt_mm.utils.frame_masks import born, has_object_folders, id_maps, object_folders
from stt_mm.utils.mask_folder import (
    ExpectedMasks,
    check_extra,
    check_video,
    expected_masks,
    given_births,
    other_forms,
)
from stt_mm.utils.masks import lack_of_objects
from stt_mm.utils.point_file import read_point_file, scaled, to_pixels
from stt_mm.utils.targets import check_apart
from stt_mm.utils.text import absent, read_json

EPILOG = """examples:
  python tools/eval_folder.py masks data/DAVIS --task davis17 --out scores
  python tools/eval_folder.py masks data/DAVIS --task davis16 --workers 8
  python tools/eval_folder.py masks data/VIP/VIP_Fine --task vip
  python tools/eval_folder.py masks data/YouTubeVOS --task ytv --split train --video-list held_out.txt \\
      --seen-categories seen.txt
  python tools/eval_folder.py masks truth --task davis17                    (truth/<video>/<frame>.png)
  python tools/eval_folder.py masks long_videos --task davis17 --resolution '' --sparse
  python tools/eval_folder.py masks data/LVOS --task lvos --parts 10 --out scores
  python tools/eval_folder.py masks data/SA-V --task sav
  python tools/eval_folder.py points data/tapvid_davis/tapvid_davis.pkl --task tapvid --query-mode strided
  python tools/eval_folder.py points data/BADJA --task badja --davis-root data/DAVIS

PRED holds masks as <video>/<frame>.png, <video>.json (COCO, Label Studio, SA-V) or, like SA-V,
<video>/<object>/<frame>.png. It holds points as <video>.npz or <video>/points.npz in TAP-Vid's form, in the order of
the queries or joints, or as tools/test.py --dump-points writes them.

GT is the folder of a data set in its official layout, or a plain folder of <video>/<frame>.png. In a plain folder,
the objects are those of the first frame (ytv, mose, lvos, sav: each from the first frame that shows it).

--out DIR gets the metric's JSON and CSV files. The exit code is 1 if there are faults; with --allow-faulty, only if
nothing can be scored."""

# The split that is scored by default, and a file or folder of the official layout.
TASKS = {
    'davis17': ('val', 'ImageSets'),
    'davis16': ('val', 'ImageSets'),
    'vip': ('val', 'lists'),
    'ytv': ('train', '{split}/meta.json'),
    'mose': ('train', '{split}/Annotations'),
    'lvos': ('valid', '{split}/{split}_meta.json'),
    'sav': ('val', 'sav_{split}'),
    'tapvid': ('', ''),
    'badja': ('', 'joint_annotations'),
}
POINTS = ('tapvid', 'badja')
# Each object counts from the frame that first shows it; frames without a truth may have masks.
OBJECTS = dict(mose=MOSE, lvos=LVOS, sav=SAV)


class PlainTruth(Sequence):
    """Data samples of a folder ``<video>/<frame>.png`` of true masks, as dicts, without the videos to skip."""

    def __init__(self, args: argparse.Namespace, skip: Iterable[str] = ()) -> None:
        self.task, self.given_later = args.task, args.task == 'ytv' or args.task in OBJECTS
        folders = sorted(path for path in Path(args.gt).iterdir() if path.is_dir() and not path.name.startswith('.'))
        self.videos = [(folder.name, self.files(folder)) for folder in folders]
        bad = [name for name, paths in self.videos if not paths]
        if bad or not folders:
            raise MissingInputError(
                f'{args.gt} has no {mark(args)}, so it is not the official layout for {args.task}, nor does it hold '
                f'<video>/<frame>.png{f", as there are no masks in {bad[0]}" if bad else ""}. Give one of the two as '
                'GT.'
            )
        self.videos = [video for video in self.videos if video[0] not in skip]
        lacks = {name: self.lack(paths) for name, paths in self.videos}
        if reasons := {name: lack for name, lack in lacks.items() if lack}:
            raise UnscorableVideos(args.gt, reasons)

    def files(self, folder: Path) -> list[str]:
        """The masks of a video; of SA-V those of the object with the most, as each has its own."""
        if self.task != 'sav' or not has_object_folders(folder):
            return list_images(folder)
        return max((list_images(path) for path in sorted(folder.iterdir())), key=len)

    def lack(self, paths: Sequence[str]) -> str | None:
        """Why the masks of a video are too few for its score."""
        if len(paths) < 2:
            return f'masks: {len(paths)}, of which the first is given'
        if self.given_later and not any(read_object_ids(path).any() for path in paths[:-1]):
            return 'no true mask before the last shows an object'
        if not self.task.startswith('davis'):
            return None
        if reason := lack_of_objects(paths[0], self.task == 'davis16'):
            return reason
        return f'masks: {len(paths)}, of which the first and the last do not count' if len(paths) < 3 else None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict:
        (video_id, paths), births = self.videos[index], {}
        first = read_object_ids(paths[0], self.task == 'davis16')
        if self.task in OBJECTS:
            return self.objects_of(video_id, paths, first.shape)
        if self.task == 'ytv':
            for t, path in enumerate(paths):
                for number in np.unique(read_object_ids(path)).tolist():
                    births.setdefault(number, t)
        return dict(
            video_id=video_id,
            frame_names=[Path(path).stem for path in paths],
            original_size=first.shape,
            mask_paths=paths,
            given_masks={0: first},
            single_object=self.task == 'davis16',
            output_frames=[True] * len(paths),
            objects={k: dict(category=None, first_frame=t) for k, t in sorted(births.items()) if k != 0},
        )

    def objects_of(self, video_id: str, paths: Sequence[str], size: tuple[int, int]) -> dict:
        """The sample of a video with masks of ids, or with a folder for each object."""
        names = [Path(path).stem for path in paths]
        if Path(paths[0]).parent.name == video_id:
            truth = id_maps(names, paths, size)
        else:
            truth = list(object_folders(Path(paths[0]).parents[1], names, size).values())
        births = given_births(born(enumerate(truth)))
        objects = {number: dict(first_frame=t) for number, t in sorted(births.items())}
        return dict(video_id=video_id, frame_names=names, original_size=size, truth=truth, objects=objects)


class OfficialTruth(Sequence):
    """Data samples of a data set as dicts, without the videos to skip."""

    def __init__(self, args: argparse.Namespace, skip: Iterable[str] = ()) -> None:
        if args.task in OBJECTS:
            self.dataset = OBJECTS[args.task](args.gt, split=args.split, video_list=args.video_list, skip=skip)
        elif args.task == 'tapvid':
            self.dataset = TAPVid(args.gt, query_mode=args.query_mode, skip=skip)
        elif args.task == 'badja':
            self.dataset = BADJA(args.gt, davis_root=args.davis_root, skip=skip)
        elif args.task == 'vip':
            self.dataset = VIP(args.gt, split=args.split, skip=skip)
        elif args.task == 'ytv':
            self.dataset = YouTubeVOSBenchmark(args.gt, split=args.split, video_list=args.video_list, skip=skip)
        else:
            self.dataset = DAVIS(
                args.gt,
                split=args.split,
                year=2000 + int(args.task[-2:]),
                resolution=args.resolution,
                annotations='sparse' if args.sparse else 'full',
                skip=skip,
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        sample = self.dataset[index]['data_samples'].to_dict()
        if isinstance(self.dataset, DAVIS) and self.dataset.annotations == 'sparse':
            sample['output_frames'] = [path is not None for path in sample['mask_paths']]
        if 'truth' in sample:
            sample['output_frames'] = [frame is not None for frame in sample['truth']]
        return sample


def load_truth(args: argparse.Namespace) -> tuple[Sequence, dict[str, str]]:
    """The data samples, and what the videos lack that are not among them, as they cannot be scored."""
    kind = OfficialTruth if Path(args.gt, mark(args)).exists() else PlainTruth
    try:
        return kind(args), {}
    except UnscorableVideos as error:
        for video_id, reason in error.reasons.items():
            print(f'{args.gt}: video {video_id} cannot be scored, {reason}')
        if not args.allow_faulty:
            raise InputError(
                f'{len(error.reasons)} videos in {args.gt}, listed above, cannot be scored. Take them out '
                'of GT or its list; with --allow-faulty they are left out'
            ) from None
        return kind(args, list(error.reasons)), error.reasons


def mark(args: argparse.Namespace) -> str:
    return TASKS[args.task][1].format(split=args.split)


def build_metric(args: argparse.Namespace, out_dir: str | None = None) -> VideoMetric:
    if args.task in POINTS:
        return TAPVidMetric(out_dir) if args.task == 'tapvid' else BADJAMetric(out_dir)
    if args.task in OBJECTS:
        counts = args.task == 'lvos'
        return ObjectVideoMetric(
            out_dir, given_frame=counts, last_frame=counts, parts=args.parts, unseen_videos=args.unseen_videos
        )
    if args.task == 'ytv':
        return YouTubeVOSMetric(out_dir, seen_categories=args.seen_categories)
    return VIPMetric(out_dir) if args.task == 'vip' else DAVISMetric(out_dir)


def legal_ids(task: str, sample: dict) -> Iterable[int]:
    """Ids that a prediction may hold, whatever is known of their frames."""
    if task == 'davis16':
        return 1, 255
    if task == 'vip':
        return range(1, NUM_CATEGORIES)
    if task == 'ytv' or task in OBJECTS:
        return sample['objects']
    return range(1, int(sample['given_masks'][0].max()) + 1)


def wanted_masks(task: str, sample: dict) -> ExpectedMasks:
    """What the metric asks of the masks of a video. In frames that it does not count, any id will do."""
    expected = expected_masks(sample, dict.fromkeys(legal_ids(task, sample), 0))
    if task.startswith('davis'):
        uncounted = [list(expected.frames)[t] for t in (0, -1)]
        expected = replace(expected, frames={**expected.frames, **dict.fromkeys(uncounted, frozenset(range(256)))})
    return expected


class Video(NamedTuple):
    """What became of one video: its faults, and its record, unless there are faults that are not allowed."""

    video_id: str
    expected: ExpectedMasks | None
    faults: list[str]
    records: list[dict]


def evaluate_video(truth: Sequence, args: argparse.Namespace, index: int) -> Video:
    """Check and score one video."""
    sample = truth[index]
    if args.task in POINTS:
        return evaluate_points(sample, args)
    expected = wanted_masks(args.task, sample)
    true_masks = sample.get('mask_paths') or [None] * len(sample['frame_names'])
    for name, true_mask in zip(sample['frame_names'], true_masks, strict=True):
        path = Path(args.pred, sample['video_id'], f'{name}.png')
        if true_mask is not None and path.is_file() and path.samefile(true_mask):
            raise InputError(
                f'{path} is a mask of the truth in {args.gt}, which would be compared with itself. Name '
                'the folder of predicted masks as PRED.'
            )
    folder = Path(args.pred, sample['video_id'])
    try:
        drawn = other_forms(folder, expected.size)
        masks, faults = check_video(folder, expected, drawn)
    except (InputError, MissingInputError) as error:
        drawn, masks, faults = {}, {}, [str(error)]
    if faults and not args.allow_faulty:
        return Video(sample['video_id'], expected, faults, [])
    if drawn is not None and args.task in OBJECTS:  # Objects may overlap.
        sample['pred_objects'] = [drawn[name] if name in masks else None for name in sample['frame_names']]
    predictions = np.zeros((len(sample['frame_names']), *sample['original_size']), np.uint8)
    for t, name in enumerate(sample['frame_names']):
        if name in masks:
            predictions[t] = masks[name] > 0 if args.task == 'davis16' else masks[name]
    metric = build_metric(args)
    metric.process(None, [dict(sample, pred_masks=predictions, protocol={})])
    return Video(sample['video_id'], expected, faults, metric.results)


def evaluate_points(sample: dict, args: argparse.Namespace) -> Video:
    """Check and score the points of one video; with faults that are allowed all of them are lost."""
    shape, faults = np.shape(sample['points']), []
    try:
        points, occluded = read_found_points(Path(args.pred, sample['video_id']), sample)
    except (InputError, MissingInputError) as error:
        faults.append(str(error))
        points, occluded = np.full(shape, np.nan), np.ones(shape[:2], bool)
    if faults and not args.allow_faulty:
        return Video(sample['video_id'], None, faults, [])
    lost = np.isnan(points).any(axis=2)
    found = dict(pred_points=points, pred_occluded=occluded, pred_lost=lost, protocol={})
    metric = build_metric(args)
    metric.process(None, [dict(sample, **found)])
    return Video(sample['video_id'], None, faults, metric.results)


def read_found_points(folder: Path, sample: dict) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[T, J, 2]`` in pixels of the frames, NaN where lost, and bool ``[T, J]``, where they are hidden."""
    frames, count = np.shape(sample['points'])[:2]
    files = [Path(f'{folder}.npz'), folder / TRACKS, folder / DUMPED]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise MissingInputError(f'{folder}: the video is missing, {folder}.npz or a file in that folder is expected')
    size = tuple(sample['original_size'])
    if path.name == DUMPED:
        rows = read_dumped_points(path)
        if len({len(row['points']) for row in rows}) > 1:
            raise InputError(f'{path} has not the same points in all frames')
        points, occluded = (np.stack([row[key] for row in rows]) for key in ('points', 'occluded'))
        points = scaled(points, rows[0]['size'], size)
    else:
        points, occluded = read_point_file(path, frames)
        lost = np.isnan(points).any(axis=2)
        points, occluded = to_pixels(points, size).swapaxes(0, 1), (occluded | lost).T
        if 'query_order' in sample and points.shape[1] == count:
            points, occluded = points[:, sample['query_order']], occluded[:, sample['query_order']]
    if points.shape != (frames, count, 2):
        raise InputError(
            f'{path} has {points.shape[1]} points in {len(points)} frames, but {count} in {frames} are expected'
        )
    return points, occluded


def evaluate_videos(truth: Sequence, args: argparse.Namespace) -> Iterable[Video]:
    """All videos in order, from several processes if so wanted."""
    workers = min(args.workers, len(truth))
    return DataLoader(
        range(len(truth)),
        batch_size=None,
        collate_fn=partial(evaluate_video, truth, args),
        num_workers=workers if workers > 1 else 0,
        multiprocessing_context='spawn' if workers > 1 else None,
    )


def protocol_of(args: argparse.Namespace) -> dict:
    """What is scored, and by which rules."""
    what = 'points' if args.task in POINTS else 'masks'
    split = args.query_mode if args.task == 'tapvid' else args.split
    return dict(name=f'{what} from {args.pred}', version=1, truth=args.gt, task=args.task, split=split)


def check_results(args: argparse.Namespace, name: str) -> None:
    """Refuse a folder that holds the results of other masks, or by other rules."""
    path = Path(args.out, f'{name}_results.json')
    if not path.is_file():
        return
    found, wanted = read_json(path), protocol_of(args)
    before = found.get('protocol') if isinstance(found, dict) else None
    if not isinstance(before, dict) or {key: before.get(key) for key in wanted} != wanted:
        what = before.get('name') if isinstance(before, dict) else 'something else'
        raise InputError(f'{path} is of another evaluation ({what}). Name another folder as --out, or remove it.')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('pred', metavar='PRED', help='folder of predicted masks or points')
    parser.add_argument('gt', metavar='GT', help='data set in its official layout, or plain folder of true masks')
    parser.add_argument('--task', required=True, choices=TASKS, help='benchmark whose rules apply')
    parser.add_argument('--out', metavar='DIR', help='where to write the JSON and CSV files')
    parser.add_argument('--workers', type=between(1), default=1, metavar='N', help='number of processes')
    parser.add_argument(
        '--allow-faulty', action='store_true', help='score anyway; a frame with a fault counts as empty'
    )
    parser.add_argument('--split', help='split to score, in the official layout (default: val; ytv: train)')
    parser.add_argument(
        '--resolution', metavar='FOLDER', help="folder of the resolution, '' if there is none (default: 480p)"
    )
    parser.add_argument(
        '--sparse', action='store_true', help='score only frames that have a true mask; the others are no faults'
    )
    parser.add_argument('--video-list', metavar='FILE', help='ytv, mose, lvos, sav: score these videos only')
    parser.add_argument(
        '--parts',
        type=between(2),
        metavar='N',
        help='mose, lvos, sav: report J and F in N parts of the time (default: 4)',
    )
    parser.add_argument(
        '--unseen-videos', metavar='FILE', help='lvos: list of the videos whose categories were not trained on'
    )
    parser.add_argument(
        '--query-mode', choices=('first', 'strided'), help='tapvid: where tracks begin (default: first)'
    )
    parser.add_argument('--davis-root', metavar='DIR', help='badja: folder of DAVIS (default: DAVIS in GT)')
    parser.add_argument(
        '--seen-categories',
        metavar='FILE',
        help='ytv: list of the categories in the training data, one per line or as JSON',
    )
    args = parser.parse_args(argv)
    for option, tasks in (
        ('seen_categories', ('ytv',)),
        ('video_list', ('ytv', *OBJECTS)),
        ('parts', tuple(OBJECTS)),
        ('unseen_videos', ('lvos',)),
        ('query_mode', ('tapvid',)),
        ('davis_root', ('badja',)),
    ):
        if getattr(args, option) is not None and args.task not in tasks:
            parser.error(f'--{option.replace("_", "-")} is for --task {", ".join(tasks)}')
    args.parts, args.query_mode = args.parts or 4, args.query_mode or 'first'
    if not args.task.startswith('davis') and (args.sparse or args.resolution is not None):
        parser.error('--sparse and --resolution are for the tasks of DAVIS')
    if args.task in POINTS and args.split:
        parser.error('--split is for tasks with masks')
    split = args.split
    args.split = split or TASKS[args.task][0]
    plain = not Path(args.gt, mark(args)).exists() and Path(args.gt).is_dir()
    if plain and (split or args.video_list or args.resolution is not None):
        parser.error(
            f'--split, --resolution and --video-list are for a data set in its official layout, and {args.gt} '
            f'has no {mark(args)}'
        )
    args.resolution = '480p' if args.resolution is None else args.resolution
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        for folder in (args.pred, args.gt):
            if not Path(folder).is_dir() and (folder != args.gt or args.task != 'tapvid' or not Path(folder).is_file()):
                raise MissingInputError(
                    f'{absent(folder, "folder")}. Expected <video>/<frame>.png in it, or a data set.'
                )
        if args.out is not None:
            check_apart(args.out, [args.pred, args.gt])
        metric = build_metric(args, args.out)
        if args.out is not None:
            check_results(args, metric.name)
        truth, left_out = load_truth(args)
        if not len(truth):
            raise InputError(f'Nothing can be scored: {args.gt} has no other videos')
        faults, videos = [], {}
        for video in tracked(evaluate_videos(truth, args)):
            videos[video.video_id] = video.expected
            faults += video.faults
            metric.results += video.records
        if args.task not in POINTS:
            free = videos if args.sparse or args.task in OBJECTS else ()
            faults += check_extra(args.pred, videos, {*left_out, *free})
        for fault in faults:
            print(fault)
        if faults and not args.allow_faulty:
            sparse = args.task.startswith('davis') and not args.sparse and any('extra file' in line for line in faults)
            more = ', and with --sparse masks of frames without a true one are no faults' if sparse else ''
            raise InputError(
                f'{len(faults)} faults in {args.pred}, listed above, so nothing is scored. With '
                f'--allow-faulty frames with a fault count as empty{more}.'
            )
        for entry in metric.results:
            entry['protocol'] = dict(
                protocol_of(args),
                faults=len(faults),
                left_out=list(left_out),
            )
        if not metric.evaluate(len(truth)):
            raise InputError(f'Nothing could be scored: the truth in {args.gt} is not known')


if __name__ == '__main__':
    main()
