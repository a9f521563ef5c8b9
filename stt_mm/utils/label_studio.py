"""The JSON exports of Label Studio, whole and ``JSON-MIN``: regions painted with a brush, and polygons."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from stt_mm.errors import InputError
from stt_mm.utils.rle import checked_size, decode_brush, draw_polygons
from stt_mm.utils.text import check_entries, check_name

logger = logging.getLogger(__name__)

_LABELS = ('brushlabels', 'polygonlabels', 'labels')


def read_tasks(
    tasks: list[dict], where: str
) -> Iterator[tuple[str, None, tuple[int, int], str, str, Callable[[], np.ndarray]]]:
    """Each painted region: its image, nothing, (height, width), its label twice, and what draws it, bool ``[H, W]``.

    Annotations that were cancelled are passed over, and so are regions that are no masks, such as boxes. Where labels
    have a tag of their own, each region is there twice, with its label and without, and counts once.

    Args:
        tasks: the content of the file.
        where: begins the messages.

    Raises:
        ValueError: a task without an image or with that of another one, or a region without a size or with several
            labels; while drawing it, one that is damaged.
    """
    passed, seen = 0, set()
    for number, task in enumerate(tasks):
        image = _image(task, f'{where}, task {task.get("id", number)}')
        if image in seen:
            raise InputError(f'{where}: two tasks are for {image}. A file is for one video; split it by the videos.')
        seen.add(image)
        labelled: dict[str, int] = {}
        regions = list(_regions(task, f'{where}, {image}'))
        named = [_shape(value) for value, _ in regions if _label(value)]
        for value, sides in regions:
            label = _label(value)
            if not label and _shape(value) in named:
                continue
            label = label or ['unlabelled']
            if 'rle' not in value and 'points' not in value:
                passed += 1
                continue
            place = f'{where}, {image}'
            if not isinstance(label, list) or len(label) != 1 or not isinstance(label[0], str):
                raise InputError(f'{place}: a region needs one label at most, got {label!r:.80}.')
            size = checked_size(sides, f'{place}, region of {label[0]}')
            labelled[label[0]] = labelled.get(label[0], 0) + 1
            yield image, None, size, label[0], label[0], _drawing(value, size, f'{place}, region of {label[0]}')
        for label, count in labelled.items():
            if count > 1:
                logger.warning('%s: %d regions of %s in %s are one object.', where, count, label, image)
    if passed:
        logger.warning('%s: %d regions that are no masks are left out.', where, passed)


def _image(task: dict, where: str) -> str:
    data = task.get('data') if isinstance(task.get('data'), dict) else task
    urls = [value for value in data.values() if isinstance(value, str) and '.' in value.rsplit('/', 1)[-1]]
    known = [data[key] for key in ('image', 'img', 'url') if isinstance(data.get(key), str)] or urls
    if not known:
        raise InputError(f'{where} names no image. Expected the JSON export of Label Studio.')
    name = known[0].split('?d=')[-1].split('?')[0].replace('\\', '/').rsplit('/', 1)[-1]
    check_name(name, where)
    return name


def _regions(task: dict, where: str) -> Iterator[tuple[dict, list]]:
    """Value and (height, width) of each region: of the whole export, or of JSON-MIN, where the two are one."""
    for annotation in check_entries(task.get('annotations') or task.get('completions') or [], 'annotations', where):
        results = [] if annotation.get('was_cancelled') else annotation.get('result') or []
        for result in check_entries(results, 'result', where):
            value = result.get('value', {})
            if not isinstance(value, dict):
                raise InputError(f'{where}: the value of a region must be an entry with its shape, got {value!r:.80}.')
            if value:
                yield value, [result.get('original_height'), result.get('original_width')]
    for entry in task.values():
        for value in entry if isinstance(entry, list) else ():
            if isinstance(value, dict) and 'original_height' in value:
                yield value, [value['original_height'], value.get('original_width')]


def _label(value: dict) -> Any:
    return next((value[key] for key in _LABELS if value.get(key)), None)


def _shape(value: dict) -> Any:
    return value.get('rle') or value.get('points')


def _drawing(value: dict, size: tuple[int, int], where: str) -> Callable[[], np.ndarray]:
    if 'rle' in value:
        return partial(decode_brush, value['rle'], size, where)
    return partial(draw_polygons, [_pixels(value.get('points'), size, where)], size, where)


def _pixels(points: Any, size: tuple[int, int], where: str) -> list[float]:
    """Corners in percent of the sides, as pixels in the order x, y, x, y, ..."""
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)
    if not pairs or not all(type(number) in (int, float) for point in points for number in point):
        raise InputError(f'{where}: points must be [x, y] in percent, got {points!r:.80}.')
    return [side * number / 100 for point in points for side, number in zip(size[::-1], point, strict=True)]
