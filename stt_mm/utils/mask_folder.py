"""Folders of masks that any program may have written: what must be there, and all that is wrong with them at once."""

import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.frame_masks import FrameMasks, has_object_folders, object_folders
from stt_mm.utils.images import open_image
from stt_mm.utils.mask_file import read_mask_file
from stt_mm.utils.masks import read_mask
from stt_mm.utils.text import absent

MAX_MEMBER_BYTES = 64 * 2**20  # of a mask in a zip file; a PNG of 4K takes less than 8 MiB
# What zipfile raises at files that are cut off or damaged.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error)


@dataclass(frozen=True)
class ExpectedMasks:
    """What the folder of one video must hold.

    Args:
        size: (height, width) of every mask.
        frames: name of each mask, without ``.png``, to the ids that it may hold; 0 always may.
    """

    size: tuple[int, int]
    frames: Mapping[str, Set[int]]


def expected_masks(sample: Mapping, births: Mapping[int, int]) -> ExpectedMasks:
    """What predictions of one data sample must look like.

    Args:
        sample: with ``frame_names``, ``original_size`` and perhaps ``output_frames`` (one bool per frame; without it
            all are wanted).
        births: id to the index of the frame from which on it is legal.
    """
    names, wanted = sample['frame_names'], sample.get('output_frames') or [True] * len(sample['frame_names'])
    frames = {
        name: frozenset(number for number, birth in births.items() if birth <= t)
        for t, (name, chosen) in enumerate(zip(names, wanted, strict=True))
        if chosen
    }
    return ExpectedMasks(tuple(sample['original_size']), frames)


def given_births(given_masks: Mapping[int, np.ndarray]) -> dict[int, int]:
    """The frame in which each id is given, from masks ``[H, W]`` by frame index."""
    return {number: t for t, mask in given_masks.items() for number in np.unique(mask).tolist() if number != 0}


def check_video(
    folder: str | Path, expected: ExpectedMasks, drawn: Mapping[str, FrameMasks] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the masks of one video.

    Args:
        folder: of the video.
        expected: what it must hold.
        drawn: the frames of :func:`other_forms`, where the masks are no maps of ids; ``None``: they are.

    Returns:
        The masks without faults, uint8 ``[H, W]`` by frame name; and one line per fault, which names the file.
    """
    folder = Path(folder)
    if drawn is None and not folder.is_dir():
        return {}, [f'{folder}: the video is missing, {len(expected.frames)} masks are expected there']
    masks, faults = {}, []
    for name, ids in expected.frames.items():
        if drawn is None:
            path = folder / f'{name}.png'
            fault, mask = _check_mask(path, expected.size, ids)
        else:
            path = f'{folder}, frame {name}'
            fault, mask = _check_drawn(drawn.get(name), expected.size, ids)
        if fault is None:
            masks[name] = mask
        else:
            faults.append(f'{path}: {fault}')
    return masks, faults


def other_forms(folder: str | Path, size: tuple[int, int]) -> dict[str, FrameMasks] | None:
    """The frames of a video whose masks are no maps of ids: a file ``<folder>.json``, or a folder for each object.

    Args:
        folder: of the video.
        size: (height, width) of its frames.

    Returns:
        By the name of the frame; ``None`` if the masks are in neither form. See :mod:`stt_mm.utils.mask_file` and
        :func:`stt_mm.utils.frame_masks.object_folders`.
    """
    if Path(folder).is_dir():
        return object_folders(folder, None, size) if has_object_folders(folder) else None
    file = Path(f'{folder}.json')
    return {frame.name: frame for frame in read_mask_file(file).frames} if file.is_file() else None


def check_extra(folder: str | Path, videos: Mapping[str, ExpectedMasks], free: Collection[str] = ()) -> list[str]:
    """One line for each file, or whole folder, that belongs to no expected mask; hidden ones are passed over, and so
    are the folders of the videos in ``free``, which may hold anything."""
    files, folders = _expected_paths(videos)
    files.update(f'{video}.json' for video in videos if not Path(folder, video).is_dir())
    folders.update(str(place) for video in free for place in (Path(video), *Path(video).parents))
    faults = []
    for root, directories, names in os.walk(folder):
        place = Path(root).relative_to(folder)
        if str(place) in free:
            directories.clear()
            continue
        for name in sorted(names):
            if not name.startswith('.') and str(place / name) not in files:
                faults.append(f'{Path(root, name)}: extra file, no mask of that name is expected')
        for name in sorted(directories):
            if name.startswith('.') or str(place / name) not in folders:
                directories.remove(name)
                if not name.startswith('.'):
                    faults.append(f'{Path(root, name)}: extra folder, no video of that name is expected')
    return faults


def check_zip(path: str | Path, videos: Mapping[str, ExpectedMasks], folder: str | Path) -> list[str]:
    """Unpacks the expected masks of a zip file into a folder, for :func:`check_video`.

    Returns:
        One line for each member that is extra, once more there, or cannot be unpacked.
    """
    if not Path(path).is_file():
        raise MissingInputError(f'{absent(path, "file")}.')
    (files, _), faults = _expected_paths(videos), []
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise InputError(f'{path} is no zip file, or it is cut off: {error}.') from error
    with archive:
        for info in (info for info in archive.infolist() if not info.filename.endswith('/')):
            where = f'{path}/{info.filename}'
            if info.filename not in files:
                faults.append(f'{where}: extra file, no mask of that name, or no second one, is expected')
            elif info.file_size > MAX_MEMBER_BYTES:
                faults.append(f'{where}: unpacks to {info.file_size >> 20} MiB, which is no mask')
            else:
                files.remove(info.filename)
                try:
                    archive.extract(info, folder)
                except _UNREADABLE as error:
                    faults.append(f'{where}: cannot be unpacked ({error})')
    return faults


def _expected_paths(videos: Mapping[str, ExpectedMasks]) -> tuple[set[str], set[str]]:
    files = {str(Path(video, f'{name}.png')) for video, expected in videos.items() for name in expected.frames}
    return files, {str(parent) for file in files for parent in Path(file).parents}


def _check_mask(path: Path, size: tuple[int, int], ids: Set[int]) -> tuple[str | None, np.ndarray | None]:
    if not path.is_file():
        return 'the mask is missing', None
    try:
        mask, image = read_mask(path), open_image(path.read_bytes())
    except ValueError as error:
        return str(error).removeprefix(f'Mask {path} '), None
    if image.format != 'PNG' or image.mode not in ('P', 'L'):
        return f'a {image.format} image of mode {image.mode}; masks are indexed (P) or 8-bit grey (L) PNGs', None
    return _check_ids(mask, size, ids)


def _check_drawn(
    frame: FrameMasks | None, size: tuple[int, int], ids: Set[int]
) -> tuple[str | None, np.ndarray | None]:
    if frame is None:
        return 'the mask is missing', None
    try:
        return _check_ids(frame.ids(), size, ids)
    except ValueError as error:
        return str(error), None


def _check_ids(mask: np.ndarray, size: tuple[int, int], ids: Set[int]) -> tuple[str | None, np.ndarray | None]:
    if mask.shape != size:
        return f'{mask.shape[0]}x{mask.shape[1]} (height x width), but the frame is {size[0]}x{size[1]}', None
    extra = sorted(set(np.unique(mask).tolist()) - {0} - ids)
    if extra:
        return f'illegal ids {extra}; this frame may hold {sorted(ids - {0})}', None
    return None, mask
