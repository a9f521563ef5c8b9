"""Whether a video file is as long as it says, and where its structure is broken, from the sizes in its container."""

import os
from pathlib import Path
from typing import BinaryIO

_MP4_BOXES = (b'ftyp', b'styp', b'moov', b'mdat', b'wide', b'free', b'skip')

# Matroska and WebM: a segment holds elements whose names have four bytes, among them the tracks and clusters of frames.
_EBML, _SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'
_CLUSTER, _TRACKS = b'\x1f\x43\xb6\x75', b'\x16\x54\xae\x6b'
_TRACK, _TRACK_NUMBER, _GROUP, _BLOCKS = b'\xae', b'\xd7', b'\xa0', (b'\xa1', b'\xa3')
# What is known to stand in the parts that lead to frames.
_HOLDS = {
    _TRACKS: {_TRACK},
    _TRACK: {_TRACK_NUMBER},
    _CLUSTER: {_GROUP, b'\xa3', b'\xa7', b'\xab', b'\xaf', b'\xe7', b'\x58\x54'},
    _GROUP: {b'\x8e', b'\x9b', b'\xa1', b'\xa2', b'\xa4', b'\xfb', b'\xfd', b'\x75\xa1', b'\x75\xa2'},
}


def is_cut_off(path: str | Path) -> bool:
    """Whether a part of an MP4, MOV, AVI, MKV or WebM file reaches beyond its end; other kinds do not tell.

    Numbers of frames in headers are not asked: writers get them wrong in files that are whole.
    """
    end = os.path.getsize(path)
    with open(path, 'rb') as file:
        head = file.read(8)
        if head[:4] == b'RIFF':
            # All ones: the writer did not know the size. Some count these eight bytes, or one that fills, as well.
            size = int.from_bytes(head[4:], 'little')
            return size != 0xFFFFFFFF and size - 1 > end
        if head[:4] == _EBML:
            return _end_of_segment(file, end) > end
        if head[4:] in _MP4_BOXES:
            return _end_of_boxes(file, end) > end
    return False


def broken_at(path: str | Path) -> int | None:
    """The byte at which the structure of an MKV or WebM file is lost, so that its readers look for the next cluster.

    They do so without a word, and the frames in between are gone. ``None`` if there is no such place, and for other
    kinds of files. The file is walked through from frame to frame, without reading their contents.
    """
    end = os.path.getsize(path)
    with open(path, 'rb') as file:
        if file.read(4) != _EBML:
            return None
        position = (_variable_int(file) or 0) + file.tell()
        # The parts around the position, and where each ends if that is known.
        parts: list[tuple[bytes, int | None]] = []
        segment_end, doubtful = None, None
        # The tracks that are declared, before the frames or behind them, and where each first has a frame.
        tracks: set[int] = set()
        first: dict[int | None, int] = {}
        broken = None
        while position < end and position != segment_end:
            file.seek(position)
            name, size = _name(file), _variable_int(file)
            content = file.tell()
            if content >= end:
                break
            while parts and (position == parts[-1][1] or parts[-1][1] is None and len(name) == 4):
                parts.pop()
            part, limit = parts[-1] if parts else (b'', None)
            if (part and name in _HOLDS[part]) or (not part and len(name) == 4):
                doubtful = None
            elif doubtful is None:
                # Readers pass over elements that they do not know; but so may a damage begin.
                doubtful = position
            # What reaches beyond the end of the file, but not of what holds it, is cut off and not broken.
            cut = name == _SEGMENT or (name in _HOLDS and (segment_end or end + 1) > end)
            limit = limit or (None if cut else max(end, segment_end or end))
            if (
                len(name) > 4
                or (not part and name in _HOLDS[_CLUSTER])
                or (size is None and name not in (_SEGMENT, _CLUSTER))
                or (size is not None and limit is not None and content + size > limit)
            ):
                broken = None if _is_zero(file, position) else position if doubtful is None else doubtful
                break
            part_end = None if size is None else content + size
            if name == _TRACK_NUMBER and part == _TRACK:
                tracks.add(int.from_bytes(file.read(min(size, 8)), 'big'))
            if name in _BLOCKS and part in (_CLUSTER, _GROUP):
                first.setdefault(_variable_int(file), position if doubtful is None else doubtful)
            if name == _SEGMENT:
                segment_end = part_end
            elif name in _HOLDS:
                parts.append((name, part_end))
            position = content if name == _SEGMENT or name in _HOLDS else part_end
    stray = [place for track, place in first.items() if tracks and track not in tracks]
    return min([*stray, *([] if broken is None else [broken])], default=None)


def _is_zero(file: BinaryIO, position: int) -> bool:
    """Whether nothing follows but zeros, as in a file that was given its size before it was written."""
    file.seek(position)
    while block := file.read(1 << 20):
        if block.count(0) < len(block):
            return False
    return True


def _end_of_boxes(file: BinaryIO, end: int) -> int:
    position = 0
    while position + 8 <= end:
        file.seek(position)
        size, kind = int.from_bytes(file.read(4), 'big'), file.read(4)
        if size == 1:
            size = int.from_bytes(file.read(8), 'big')
        # A size of 0 means up to the end; some cameras append what is no box.
        if size < 8 or kind in (b'mdat', b'moof', b'moov') and position + size > end:
            return position + size
        position += size
    return end


def _end_of_segment(file: BinaryIO, end: int) -> int:
    file.seek(4)
    header = _variable_int(file) or 0
    # The segment's name has four bytes. Systems do not seek to any number.
    file.seek(min(file.tell() + header + 4, end))
    size = _variable_int(file)
    return 0 if size is None else file.tell() + size


def _name(file: BinaryIO) -> bytes:
    """The name of an element, whose first byte tells how many follow; of more than four bytes if there is none."""
    first = file.read(1)
    return first + file.read(8 - first[0].bit_length() if first else 0)


def _variable_int(file: BinaryIO) -> int | None:
    """A number whose first byte tells how many follow; ``None`` if all its bits are set, or none
    is, which means unknown."""
    first = (file.read(1) or b'\0')[0]
    if first == 0:
        return None
    more = 8 - first.bit_length()
    value = int.from_bytes(bytes([first & (0x7F >> more)]) + file.read(more), 'big')
    return None if value == (1 << 7 * (more + 1)) - 1 else value
