"""The objects of a frame, each drawn by itself when it is asked for, from whatever files hold them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.images import list_images, natural_key
from stt_mm.utils.masks import read_mask, read_object_ids

MAX_OBJECTS = 254

Draw = Callable[[], np.ndarray]


@dataclass(frozen=True)
class FrameMasks:
    """What is known of one frame. Picklable.

    Attributes:
        name: of the frame: the stem of its image.
        index: its number in the video, where that is known.
        size: (height, width).
        objects: by its id, what draws an object as bool ``[H, W]``. Objects may overlap.
    """

    name: str
    index: int | None
    size: tuple[int, int]
    objects: Mapping[int, Draw]

    def ids(self) -> np.ndarray:
        """uint8 ``[H, W]``; where objects overlap, smaller ones lie over larger ones."""
        drawn = {number: draw() for number, draw in self.objects.items()}
        ids = np.zeros(self.size, np.uint8)
        for number in sorted(drawn, key=lambda number: -int(drawn[number].sum())):
            ids[drawn[number]] = number
        return ids


def born(frames: Iterable[tuple[int, FrameMasks]]) -> dict[int, np.ndarray]:
    """Each object in the first of some numbered frames that shows it.

    Returns:
        By the number of the frame, uint8 ``[H, W]`` with the ids of the objects that are new there, 0 elsewhere.
    """
    given, seen = {}, np.zeros(256, bool)
    seen[0] = True
    for number, frame in frames:
        ids = frame.ids()
        if not seen[ids].all():
            given[number] = np.where(seen[ids], 0, ids).astype(np.uint8)
            seen[np.unique(ids)] = True
    return given


def id_maps(names: Sequence[str], paths: Sequence[str | None], size: tuple[int, int]) -> list[FrameMasks | None]:
    """Frames of which each has one map of ids, in which 255 is void, or no file; ``None`` for those without.

    Each of the others has all objects that any of them shows, so that one that has left the picture is known to have.

    Raises:
        FileNotFoundError, ValueError: a mask cannot be read, or is not of that (height, width).
    """
    ids = {number for path in paths if path is not None for number in np.unique(_ids_of(path, size)).tolist()} - {0}
    return [
        None if path is None else id_map(name, t, path, sorted(ids), size)
        for t, (name, path) in enumerate(zip(names, paths, strict=True))
    ]


def id_map(name: str, index: int, path: str, ids: Iterable[int], size: tuple[int, int]) -> FrameMasks:
    """Some of the objects of a map of ids."""
    return FrameMasks(name, index, size, {number: partial(_one_of, path, number, size) for number in ids})


def object_folders(folder: str | Path, names: Sequence[str] | None, size: tuple[int, int]) -> dict[str, FrameMasks]:
    """The frames of a video with a folder of masks for each object, ``<object>/<frame>.png``, as SA-V has them.

    Args:
        folder: of the video. An object's folder is a number, to which 1 is added for its id.
        names: of the frames of the video; ``None``: those that have a mask.
        size: (height, width) of the masks, in which all but 0 is the object.

    Raises:
        FileNotFoundError, ValueError: there are no such folders, or a mask for no frame.
    """
    found: dict[str, dict[int, Draw]] = {}
    for path in sorted(Path(folder).iterdir(), key=lambda path: natural_key(path.name)):
        if not path.is_dir() or path.name.startswith('.'):
            continue
        if not path.name.isdecimal() or int(path.name[:4]) >= MAX_OBJECTS:
            raise InputError(f'{path}: the folder of an object is called 000 to {MAX_OBJECTS - 1}.')
        for mask in list_images(path):
            found.setdefault(Path(mask).stem, {})[int(path.name) + 1] = partial(_object_mask, mask, size)
    if not found:
        raise MissingInputError(f'{folder} holds no masks, <object>/<frame>.png. Complete the download.')
    names = sorted(found, key=natural_key) if names is None else names
    if strange := sorted(found.keys() - set(names), key=natural_key):
        raise MissingInputError(f'{folder} has masks of {strange[0]}, which is no frame of the video.')
    return {name: FrameMasks(name, t, size, found[name]) for t, name in enumerate(names) if name in found}


def has_object_folders(folder: str | Path) -> bool:
    """Whether a folder holds other folders and no files, as that of a video in SA-V does; hidden ones do not count."""
    entries = [path for path in Path(folder).iterdir() if not path.name.startswith('.')]
    return bool(entries) and all(path.is_dir() for path in entries)


def checked_mask(mask: np.ndarray, path: str, size: tuple[int, int]) -> np.ndarray:
    """A mask, refused if it is not of that (height, width)."""
    if mask.shape != tuple(size):
        raise InputError(
            f'Mask {path} is {mask.shape[0]}x{mask.shape[1]} (height x width), its video is {size[0]}x{size[1]}. Take '
            'both from the same release and resolution.'
        )
    return mask


@lru_cache(maxsize=4)
def _ids_of(path: str, size: tuple[int, int]) -> np.ndarray:
    ids = checked_mask(read_object_ids(path), path, size)
    ids.setflags(write=False)
    return ids


def _one_of(path: str, number: int, size: tuple[int, int]) -> np.ndarray:
    return _ids_of(path, size) == number


def _object_mask(path: str, size: tuple[int, int]) -> np.ndarray:
    return checked_mask(read_mask(path), path, size) > 0
