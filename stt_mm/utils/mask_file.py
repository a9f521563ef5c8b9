"""Masks of the frames of a video in one JSON file: COCO, Label Studio's own, and SA-V's are read, COCO is written."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stt_mm.errors import InputError
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.frame_masks import MAX_OBJECTS, Draw, FrameMasks, born
from stt_mm.utils.label_studio import read_tasks
from stt_mm.utils.masks import as_ids
from stt_mm.utils.rle import checked_size, decode_rle, draw_polygons, encode_rle
from stt_mm.utils.text import check_entries, check_name, read_json

logger = logging.getLogger(__name__)

FORMS = (
    'COCO (images and annotations, such as an export of CVAT or Label Studio), the JSON export of Label Studio, or a '
    'file of SA-V (masklet)'
)
_SAV_STEP = 4  # 6 of 24 frames per second
# Before the name of a file that was uploaded to Label Studio.
_UPLOADED = re.compile(r'[0-9a-f]{8}-(?=.)')


@dataclass(frozen=True)
class MaskFile:
    """The masks of one video.

    Attributes:
        path: the file.
        frames: those that the file names, in its order.
        names: what the objects are called, by id.
    """

    path: str
    frames: tuple[FrameMasks, ...]
    names: Mapping[int, str]

    def numbered(self, frame_names: Sequence[str] | None = None) -> dict[int, FrameMasks]:
        """The frames by their number in a video.

        Args:
            frame_names: names of all frames of the video, if it is a folder of images; ``None``: the number is the one
                that the file tells, or that the name of the image ends with.

        Raises:
            ValueError: a frame is not in the video, has no number, or two have the same.
        """
        places = {name: t for t, name in enumerate(frame_names or ())}
        found: dict[int, FrameMasks] = {}
        for frame in self.frames:
            number = places.get(frame.name, places.get(_UPLOADED.sub('', frame.name), frame.index))
            if number is not None and places and number >= len(places):
                number = None
            if number is None and not places and (digits := re.search(r'\d{1,9}$', frame.name)):
                number = int(digits[0])
            if number is None:
                where = f'none of the {len(places)} frames of the video is called so' if places else 'it has no number'
                raise InputError(
                    f'{self.path} has masks of {frame.name}, but {where}. Export it with the names of the frames, or '
                    'take the video that was annotated.'
                )
            if number in found:
                raise InputError(
                    f'{self.path}: {found[number].name} and {frame.name} are both frame {number}. Expected the frames '
                    'of one video; take the others out.'
                )
            found[number] = frame
        return dict(sorted(found.items()))

    def given(self, frame_names: Sequence[str] | None = None) -> dict[int, np.ndarray]:
        """Each object in the first frame that shows it, uint8 ``[H, W]`` ids by the number of the frame.

        This is what :class:`stt_mm.apis.VideoPropagator` takes as masks.

        Raises:
            ValueError: as :meth:`numbered`, or all masks are empty.
        """
        found = born(self.numbered(frame_names).items())
        if not found:
            raise InputError(f'{self.path} shows no object: all its masks are empty. Expected pixels of at least one.')
        return found


def read_mask_file(path: str | Path) -> MaskFile:
    """The masks in a JSON file.

    What is one object: in COCO annotations with one ``track_id`` (of their own or among their ``attributes``); without
    any, those of one category if no frame has two of it, or each annotation if only one frame has some. In Label Studio
    all regions with one label. In SA-V a masklet; its number is one more than its ``masklet_id``, as for its folders.
    Ids are the numbers that the file gives if they are 1 to 254, or 255 alone, else the objects are numbered.

    Raises:
        FileNotFoundError, ValueError: it is not there, of another form, damaged, or does not tell objects apart.
    """
    content = read_json(path)
    where = str(path)
    if isinstance(content, dict) and 'masklet' in content:
        frames, names = _of_sav(content, where)
    elif isinstance(content, dict) and isinstance(content.get('videos'), list):
        raise InputError(f'{path} is in the form of YouTube-VIS. Expected {FORMS}.')
    elif isinstance(content, dict) and {'images', 'annotations'} <= content.keys():
        frames, names = _of_coco(content, where)
    elif isinstance(content, list) and content and all(isinstance(task, dict) for task in content):
        if any('segmentation' in task for task in content):
            raise InputError(f'{path} holds results of COCO without the images that they are for. Expected {FORMS}.')
        frames, names = _assembled(read_tasks(content, where), where)
    else:
        raise InputError(f'{path} holds no masks that are known. Expected {FORMS}.')
    _check_once([frame.name for frame in frames], where)
    return MaskFile(where, frames, names)


class MaskFileWriter:
    """Writes the masks of one video as a COCO file, when it is left; a context manager.

    An object is a category of its own and has a ``track_id``, both with its id, and in each frame that shows it an
    annotation with a compressed run-length code, so that pycocotools, CVAT and :func:`read_mask_file` read the same
    masks. The file is also whole after an error; it is not made if there was no frame.

    Args:
        path: the file.
        names: what objects are called, by id; by default their number.
    """

    def __init__(self, path: str | Path, names: Mapping[int, str] | None = None) -> None:
        self.path = Path(path)
        self._names = dict(names or {})
        self._images: list[dict] = []
        self._annotations: list[dict] = []

    def __enter__(self) -> 'MaskFileWriter':
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._images:
            ids = sorted({entry['track_id'] for entry in self._annotations})
            content = dict(
                info=dict(description='masks of stt_mm; track_id is the id of the object'),
                images=self._images,
                categories=[dict(id=number, name=self._names.get(number, str(number))) for number in ids],
                annotations=self._annotations,
            )
            write_atomically(f'{json.dumps(content)}\n'.encode(), self.path)

    def add(self, file_name: str, mask: np.ndarray, index: int | None = None) -> None:
        """Add the ids ``[H, W]``, 0 to 255, of an image; ``index`` is the number of the frame."""
        mask = as_ids(np.asarray(mask), f'The mask of {file_name}')
        height, width = mask.shape
        image = dict(id=len(self._images) + 1, file_name=file_name, width=width, height=height)
        self._images.append(image if index is None else dict(image, frame_index=index))
        for number in np.unique(mask[mask > 0]).tolist():
            rows, columns = np.nonzero(mask == number)
            left, top = int(columns.min()), int(rows.min())
            self._annotations.append(
                dict(
                    id=len(self._annotations) + 1,
                    image_id=image['id'],
                    category_id=number,
                    track_id=number,
                    segmentation=encode_rle(mask == number),
                    area=len(rows),
                    bbox=[left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
                    iscrowd=0,
                )
            )


Region = tuple[str, int | None, tuple[int, int], Any, str, Draw | None]


def _assembled(regions: Iterable[Region], where: str) -> tuple[tuple[FrameMasks, ...], dict[int, str]]:
    """Frames of (image, number, size, key of the object, its name, what draws it; nothing for an image without)."""
    frames: dict[str, tuple[int | None, tuple[int, int], dict[int, list[Draw]]]] = {}
    regions = list(regions)
    keys = list(dict.fromkeys(key for *_, key, _, draw in regions if draw is not None))
    if not keys:
        raise InputError(f'{where} holds no masks. Expected {FORMS}, with outlines or run lengths.')
    ids = _numbered(keys, where)
    for image, index, size, key, _, draw in regions:
        known = frames.setdefault(image, (index, size, {}))
        if known[1] != size:
            raise InputError(f'{where}: {image} is of two sizes, {known[1]} and {size} (height, width).')
        if draw is not None:
            known[2].setdefault(ids[key], []).append(draw)
    names = {ids[key]: name for *_, key, name, draw in regions if draw is not None}
    return tuple(
        FrameMasks(Path(image).stem, index, size, {number: partial(_union, draws) for number, draws in objects.items()})
        for image, (index, size, objects) in frames.items()
    ), dict(sorted(names.items()))


def _union(parts: Sequence[Draw]) -> np.ndarray:
    """All parts of an object in a frame."""
    return np.logical_or.reduce([part() for part in parts])


def _numbered(keys: list, where: str) -> dict[Any, int]:
    """The ids of objects: their keys where these are fit for it, else 1, 2, ... in order."""
    numbers = [int(key) if type(key) is int or isinstance(key, str) and key.isdecimal() else 0 for key in keys]
    if len(keys) > MAX_OBJECTS:
        raise InputError(f'{where} holds {len(keys)} objects, but a mask has ids 1 to {MAX_OBJECTS}. Split it.')
    # 255 beside others would be void; alone it is the object of a mask of 0 and 255.
    fit = numbers == [255] or all(1 <= number <= MAX_OBJECTS for number in numbers)
    if fit and len(set(numbers)) == len(keys):
        return dict(zip(keys, numbers, strict=True))
    order = sorted(keys) if all(type(key) is int for key in keys) else keys
    ids = {key: place + 1 for place, key in enumerate(order)}
    logger.warning('%s: the objects are numbered: %s.', where, ', '.join(f'{ids[key]} is {key}' for key in order))
    return ids


def _of_coco(content: dict, where: str) -> tuple[tuple[FrameMasks, ...], dict[int, str]]:
    for kind in ('images', 'annotations', 'categories'):
        _check_ids(check_entries(content.get(kind) or [], kind, where), kind, where)
    images = {}
    for entry in check_entries(content['images'], 'images', where):
        name = entry.get('file_name')
        if not isinstance(name, str) or not name or not isinstance(entry.get('id'), int | str):
            raise InputError(f'{where}: an image needs id, file_name, width and height, got {entry!r:.80}.')
        name = name.replace('\\', '/').split('/')[-1]
        check_name(name, where)
        size = checked_size([entry.get('height'), entry.get('width')], f'{where}, image {name}')
        index = entry.get('frame_index')
        images[entry['id']] = (name, index if type(index) is int and index >= 0 else None, size)
    _check_once([name for name, _, _ in images.values()], where)
    categories = {
        entry.get('id'): str(entry.get('name'))
        for entry in check_entries(content.get('categories') or [], 'categories', where)
        if isinstance(entry.get('id'), int | str)
    }
    entries = check_entries(content['annotations'], 'annotations', where)
    if lost := [entry for entry in entries if not _known(entry.get('image_id'), images)]:
        raise InputError(f'{where}: an annotation is for image {lost[0].get("image_id")!r:.40}, which is not listed.')
    named = [entry['category_id'] for entry in entries if isinstance(entry.get('category_id'), int | str)]
    if unknown := [category for category in named if categories and category not in categories]:
        raise InputError(f'{where}: an annotation is of category {unknown[0]!r:.40}, which is not listed.')
    drawn = [entry for entry in entries if entry.get('segmentation')]
    if len(drawn) < len(entries):
        logger.warning('%s: %d boxes without a mask are left out.', where, len(entries) - len(drawn))
    regions: list[Region] = [(*image, None, '', None) for image in images.values()]
    for entry, key in zip(drawn, _objects(drawn, where), strict=True):
        name, index, size = images[entry['image_id']]
        draw = _segmentation(entry['segmentation'], size, f'{where}, annotation {entry.get("id")} of {name}')
        category = entry.get('category_id')
        named = categories.get(category, str(key)) if isinstance(category, int | str) else str(key)
        regions.append((name, index, size, key, named, draw))
    return _assembled(regions, where)


def _objects(entries: list[dict], where: str) -> list[Any]:
    """What tells which object each annotation of COCO is of."""
    tracks = [_track(entry) for entry in entries]
    if any(track is not None for track in tracks):
        lone = (f'annotation {entry.get("id")}' for entry in entries)
        return [name if track is None else track for track, name in zip(tracks, lone, strict=True)]
    categories = [entry.get('category_id') for entry in entries]
    if all(isinstance(category, int | str) for category in categories):
        pairs = [(entry['image_id'], category) for entry, category in zip(entries, categories, strict=True)]
        if len(set(pairs)) == len(pairs):
            return categories
    if len({entry['image_id'] for entry in entries}) > 1:
        raise InputError(
            f'{where} does not tell which annotations of different frames are one object: they have no track_id, and a '
            'frame has two of one category. Annotate tracks, or give each object a category of its own.'
        )
    return list(range(1, len(entries) + 1))


def _track(entry: dict) -> int | str | None:
    attributes = entry.get('attributes')
    for place in (entry, attributes if isinstance(attributes, dict) else {}):
        for key in ('track_id', 'instance_id'):
            track = place.get(key)
            if type(track) is float and track.is_integer():  # as of tables with gaps
                return int(track)
            if type(track) in (int, str):
                return track
    return None


def _segmentation(found: Any, size: tuple[int, int], where: str) -> Draw:
    if isinstance(found, dict):
        if checked_size(found.get('size'), where) != size:
            raise InputError(f'{where}: its mask is of {found["size"]}, the image of {list(size)} (height, width).')
        return partial(decode_rle, found, where)
    if not isinstance(found, list) or not found:
        raise InputError(f'{where}: segmentation must be outlines or a run-length code, got {found!r:.80}.')
    polygons = found if isinstance(found[0], list) else [found]
    return partial(draw_polygons, polygons, size, where)


def _of_sav(content: dict, where: str) -> tuple[tuple[FrameMasks, ...], dict[int, str]]:
    masklets = content['masklet']
    if not isinstance(masklets, list) or not masklets or not all(isinstance(row, list) for row in masklets):
        raise InputError(f'{where}: masklet must be a list with a list of run-length codes for each frame.')
    total = content.get('video_frame_count')
    # Every fourth frame is annotated, if the video is long enough for that.
    step = _SAV_STEP if type(total) in (int, float) and _SAV_STEP * (len(masklets) - 1) < total else 1
    size = checked_size([content.get('video_height'), content.get('video_width')], where)
    ids = content.get('masklet_id', list(range(max(map(len, masklets)))))
    if not isinstance(ids, list) or any(type(number) is not int or number < 0 for number in ids):
        raise InputError(f'{where}: masklet_id must be a list of whole numbers from 0, got {ids!r:.80}.')
    _check_ids([dict(id=number) for number in ids], 'masklets', where)
    if uneven := [row for row in masklets if 'masklet_id' in content and len(row) != len(ids)]:
        raise InputError(f'{where}: masklet_id has {len(ids)} masklets, but a frame {len(uneven[0])}. Export it again.')
    regions: list[Region] = []
    for t, row in enumerate(masklets):
        name = f'{step * t:05d}'
        regions.append((name, step * t, size, None, '', None))
        for place, rle in enumerate(row):
            if rle is not None:
                number = ids[place] + 1  # as of the folders of SA-V
                draw = _segmentation(rle, size, f'{where}, object {number} in frame {step * t}')
                regions.append((name, step * t, size, number, str(number), draw))
    return _assembled(regions, where)


def _check_once(names: list[str], where: str) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f'{where}: two images are called {twice[0]}. A file is for one video; split it by the videos.')


def _check_ids(entries: list[dict], kind: str, where: str) -> None:
    ids = [entry['id'] for entry in entries if isinstance(entry.get('id'), int | str)]
    if twice := [number for number, count in Counter(ids).items() if count > 1]:
        raise InputError(
            f'{where}: two {kind} have the id {twice[0]!r:.40}. Expected each once; number them anew, as where files '
            'were put together.'
        )


def _known(key: Any, images: Mapping) -> bool:
    return isinstance(key, int | str) and key in images
