"""Draw masks or joints over frames: a contact sheet, a video or an animation."""

import argparse
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from stt_mm.engine.cli import between, one_line_errors, tool_parser, tracked
from stt_mm.errors import InputError, MissingInputError
from stt_mm.evaluation.metrics.dumped import POINTS, read_dumped_points
from stt_mm.utils import list_images, read_image, read_mask
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.images import walk_folders
from stt_mm.utils.point_file import scaled
from stt_mm.utils.targets import check_apart
from stt_mm.visualization import (
    VideoWriter,
    draw_skeleton,
    overlay,
    png_bytes,
    stack_rows,
    to_height,
    with_title,
)

EPILOG = """examples:
  python tools/show_results.py masks data/DAVIS/JPEGImages/480p --out sheet.png
  python tools/show_results.py masks data/YouTubeVOS/valid/JPEGImages --out ytv.mp4 --videos 0a49f5265b 0a7a2514aa
  python tools/show_results.py masks data/VIP/VIP_Fine/Images --out vip.png --columns 3
  python tools/show_results.py joints data/JHMDB/Rename_Images --out joints.mp4
  python tools/show_results.py masks data/DAVIS/JPEGImages/480p --out all.webp --columns 3 --height 240

RESULTS is a folder that tools/test.py wrote with --dump-masks or --dump-points, or any with <video>/<frame>.png of ids.
For a single video, RESULTS and FRAMES may be the folders of its masks and frames."""


@dataclass(frozen=True)
class Video:
    """Results of a video: the mask file, or the points as they were dumped, and the image of each frame."""

    name: str
    results: Mapping[str, Path | dict]
    images: Mapping[str, str]

    def picture(self, frame: str, height: int, alpha: float) -> np.ndarray:
        """A frame with its results, at some height, below its name."""
        image, result = read_image(self.images[frame]), self.results[frame]
        if isinstance(result, Path):
            mask = read_mask(result)
            if mask.shape != image.shape[:2]:
                raise InputError(
                    f'{result} is {mask.shape[0]}x{mask.shape[1]} (height x width), {self.images[frame]} is '
                    f'{image.shape[0]}x{image.shape[1]}. Name the frames that were evaluated.'
                )
            drawn = overlay(image, mask, alpha)
        else:
            size = image.shape[:2]
            drawn = draw_skeleton(image, scaled(result['points'], result['size'], size))
        return with_title(to_height(drawn, height), f'{self.name}  {frame}')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('results', type=Path, metavar='RESULTS', help='folder with the masks or joints of each video')
    parser.add_argument('frames', type=Path, metavar='FRAMES', help='folder with a folder of images for each video')
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FILE',
        help='contact sheet (.png), video of one after the other (.mp4, ...) or animation of all at once (.webp)',
    )
    parser.add_argument('--videos', nargs='+', metavar='VIDEO', help='only these (default: all in RESULTS)')
    parser.add_argument(
        '--columns',
        type=between(1),
        default=5,
        metavar='N',
        help='frames of each video on a sheet, or videos side by side in an animation (default: 5)',
    )
    parser.add_argument(
        '--height',
        type=between(16, 4096),
        metavar='PIXELS',
        help='height of a frame (default: 480 in a video, otherwise 160)',
    )
    parser.add_argument(
        '--fps', type=between(0.001, 1000, float), default=10, help='frame rate of a video or animation'
    )
    parser.add_argument('--alpha', type=between(0, 1, float), default=0.5, help='opacity of the objects')
    args = parser.parse_args(argv)
    args.height = args.height or (160 if args.out.suffix.lower() in ('.png', '.webp') else 480)
    return args


def find_videos(args: argparse.Namespace) -> list[Video]:
    """All videos in the folder of results, or those that are asked for; each has frames."""
    for folder in (args.results, args.frames):
        if not folder.is_dir():
            raise MissingInputError(f'{folder} is no folder.')
    found = {}
    for folder, names in walk_folders(args.results):
        name = Path(folder).relative_to(args.results).as_posix()
        if POINTS in names:
            found[name] = {row['name']: row for row in read_dumped_points(Path(folder, POINTS))}
        elif masks := [Path(path) for path in list_images(folder) if path.lower().endswith('.png')]:
            found[name] = {path.stem: path for path in masks}
    if missing := [name for name in args.videos or () if name not in found]:
        raise InputError(f'{args.results} has no masks or joints of {", ".join(missing)}.')
    found = {name: found[name] for name in args.videos or found}
    if not found:
        raise InputError(f'{args.results} has neither masks, <video>/<frame>.png, nor joints, <video>/{POINTS}.')
    # Masks of one video alone lie in the folder itself.
    title = args.results.resolve().name
    return [
        Video(title if name == '.' else name, results, images_of(args.frames / name, results))
        for name, results in found.items()
    ]


def images_of(folder: Path, results: Mapping[str, object]) -> dict[str, str]:
    """Image of each frame that has results."""
    images = {Path(path).stem: path for path in list_images(folder)} if folder.is_dir() else {}
    if missing := [frame for frame in results if frame not in images]:
        raise MissingInputError(
            f'{folder} holds no image of frame {missing[0]}. FRAMES has a folder for each video: JPEGImages/480p of '
            'DAVIS, valid/JPEGImages of YouTube-VOS, Images of VIP, Rename_Images of JHMDB.'
        )
    return images


def some(frames: list[str], number: int) -> list[str]:
    """At most so many, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(frames) - 1, min(number, len(frames))).round().astype(int)
    return [frames[place] for place in places]


def write_sheet(videos: list[Video], args: argparse.Namespace) -> None:
    """A row for each video."""
    rows = [
        np.hstack([np.pad(video.picture(frame, args.height, args.alpha), ((0, 0), (0, 4), (0, 0))) for frame in frames])
        for video in tracked(videos)
        for frames in [some(list(video.results), args.columns)]
    ]
    write_atomically(png_bytes(stack_rows(rows)), args.out)


def write_moving_picture(videos: list[Video], args: argparse.Namespace) -> None:
    """All videos at once, over and over; the frame that labels are given in stays for a second."""
    length = max(len(video.results) for video in videos)
    pictures = []
    for number in tracked(range(length)):
        shown = [
            video.picture(list(video.results)[min(number, len(video.results) - 1)], args.height, args.alpha)
            for video in videos
        ]
        rows = [shown[first : first + args.columns] for first in range(0, len(shown), args.columns)]
        padded = [[np.pad(picture, ((0, 0), (0, 4), (0, 0))) for picture in row] for row in rows]
        pictures.append(Image.fromarray(stack_rows([np.hstack(row) for row in padded])))
    durations = [1000] + [round(1000 / args.fps)] * (length - 1)
    with io.BytesIO() as file:
        pictures[0].save(
            file, 'webp', save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=70, method=6
        )
        write_atomically(file.getvalue(), args.out)


def film_of(videos: list[Video], args: argparse.Namespace) -> Iterator[np.ndarray]:
    """All frames of all videos, of one size: as wide as the widest, black where others are not."""
    width = max(next(iter_pictures(video, args)).shape[1] for video in videos)
    for video in tracked(videos):
        for picture in iter_pictures(video, args):
            yield np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)))


def iter_pictures(video: Video, args: argparse.Namespace) -> Iterator[np.ndarray]:
    return (video.picture(frame, args.height, args.alpha) for frame in video.results)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        check_apart(args.out, [args.results, args.frames])
        write = {'.png': write_sheet, '.webp': write_moving_picture}.get(args.out.suffix.lower())
        if write:
            videos = find_videos(args)
            write(videos, args)
        else:
            # A film that is there stays until the new one is whole.
            VideoWriter(args.out, args.fps).close()  # refuses a name or rate before anything is read
            part = args.out.with_name(f'.{args.out.stem}.part{args.out.suffix}')
            try:
                with VideoWriter(part, args.fps) as film:
                    videos = find_videos(args)
                    for picture in film_of(videos, args):
                        film.write(picture)
                part.replace(args.out)
            finally:
                part.unlink(missing_ok=True)
    print(f'{len(videos)} videos in {args.out}')


if __name__ == '__main__':
    main()
