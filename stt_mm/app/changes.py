"""What each thing that a user does changes in the entries of :mod:`stt_mm.app.annotations`.

A change is an entry's new value by its key, ``None`` where it goes. The functions look at what is there, and alter
nothing.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from stt_mm.app.annotations import NO_FRAME, Entries, Key, frames_of, numbers, values_at
from stt_mm.errors import InputError
from stt_mm.utils.rle import decode_rle, encode_rle

MOST = {'object': 254, 'point': 1000}  # as an id, 255 is void where there are others
_GIVEN = {'object': ('area', 'end'), 'point': ('place', 'point_end')}
_LONGEST_NAME = 60

Changes = dict[Key, Any]


def check_known(entries: Entries, kind: str, number: int) -> None:
    """Refuse an object, or a point, that is not there."""
    if (kind, number, NO_FRAME) not in entries:
        raise InputError(f'There is no {kind} {number}.')


def added(entries: Entries, kind: str, found: Collection[int]) -> tuple[int, Changes]:
    """A new object or point, with the first number that is neither in use nor in what was ``found``."""
    taken = {*numbers(entries, kind), *found}
    number = next((number for number in range(1, MOST[kind] + 1) if number not in taken), None)
    if number is None:
        raise InputError(f'There are {MOST[kind]} {kind}s, which is the most. Delete some, and propagate.')
    return number, {(kind, number, NO_FRAME): f'{kind.capitalize()} {number}'}


def renamed(entries: Entries, kind: str, number: int, name: str) -> Changes:
    """Another name; blanks at its ends and rows of them go."""
    check_known(entries, kind, number)
    name = ' '.join(name.split())[:_LONGEST_NAME]
    if not name:
        raise InputError('A name needs at least one letter.')
    return {(kind, number, NO_FRAME): name}


def deleted(entries: Entries, kind: str, number: int) -> Changes:
    """An object or point is taken out, with all that was given for it."""
    check_known(entries, kind, number)
    return {key: None for key in entries if key[0] in (kind, *_GIVEN[kind]) and key[1] == number}


def ended(entries: Entries, kind: str, number: int, frame: int) -> Changes:
    """An object or point is followed no longer from a frame on; a point does not come back."""
    check_known(entries, kind, number)
    given, end = _GIVEN[kind]
    frames = frames_of(entries, given, number)
    if not any(at < frame for at in frames):
        name = entries[kind, number, NO_FRAME]
        raise InputError(f'{name} is not given before frame {frame}, so it cannot end there. Delete it instead.')
    gone = [at for at in frames if at == frame or at > frame and kind == 'point']
    return {(given, number, at): None for at in gone} | {(end, number, frame): True}


def moved(entries: Entries, number: int, frame: int, place: list[float]) -> Changes:
    """A point is at (x, y) in a frame; an end before that is taken back."""
    check_known(entries, 'point', number)
    ends = [at for at in frames_of(entries, 'point_end', number) if at <= frame]
    return {('point_end', number, at): None for at in ends} | {('place', number, frame): place}


def painted(entries: Entries, number: int, frame: int, area: np.ndarray) -> Changes:
    """An object has the pixels of ``area``, bool ``[H, W]``, in a frame; others leave it their place.

    An area of nothing takes back what was given in this frame; where the object was given before, it ends there.
    """
    check_known(entries, 'object', number)
    begun = any(at < frame for at in frames_of(entries, 'area', number))
    changes: Changes = {('area', number, frame): encode_rle(area) if area.any() else None}
    changes['end', number, frame] = True if begun and not area.any() else None
    for other, code in values_at(entries, 'area', frame).items():
        if other != number:
            left = decode_rle(code) & ~area
            changes['area', other, frame] = encode_rle(left) if left.any() else None
    return {key: value for key, value in changes.items() if entries.get(key) != value}


def forgotten(entries: Entries, kind: str, number: int, frame: int) -> Changes:
    """What was given for an object or point in one frame, or that it ends there, is taken back."""
    check_known(entries, kind, number)
    gone = [(each, number, frame) for each in _GIVEN[kind] if (each, number, frame) in entries]
    if not gone:
        raise InputError(f'Nothing was given for {entries[kind, number, NO_FRAME]} in frame {frame}.')
    if kind == 'point' and gone[0][0] == 'place' and len(frames_of(entries, 'place', number)) == 1:
        return deleted(entries, kind, number)
    return dict.fromkeys(gone)
