"""Whether a video file is as long as it says, from the sizes that its container begins with."""

import os
from pathlib import Path
from typing import BinaryIO

_MP4_BOXES = (b'ftyp', b'styp', b'moov', b'mdat', b'wide', b'free', b'skip')


def is_cut_off(path: str | Path) -> bool:
    """Whether a part of an MP4, MOV, AVI, MKV or WebM file reaches beyond its end; other kinds do not tell.

    Numbers of frames in headers are not asked: writers get them wrong in files that are whole.
    """
    end = os.path.getsize(path)
    with open(path, 'rb') as file:
        head = file.read(8)
        if head[:4] == b'RIFF':
            # All ones: the writer did not know the size.
            size = int.from_bytes(head[4:], 'little')
            return size != 0xFFFFFFFF and 8 + size > end
        if head[:4] == b'\x1a\x45\xdf\xa3':
            return _end_of_segment(file) > end
        if head[4:] in _MP4_BOXES:
            return _end_of_boxes(file, end) > end
    return False


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


def _end_of_segment(file: BinaryIO) -> int:
    file.seek(4)
    header = _variable_int(file) or 0
    # The segment's name has four bytes.
    file.seek(header + 4, os.SEEK_CUR)
    size = _variable_int(file)
    return 0 if size is None else file.tell() + size


def _variable_int(file: BinaryIO) -> int | None:
    """A number whose first byte tells how many follow; ``None`` if all its bits are set, which means unknown."""
    first = (file.read(1) or b'\0')[0]
    more = 8 - first.bit_length()
    value = int.from_bytes(bytes([first & (0x7F >> more)]) + file.read(more), 'big')
    return None if value == (1 << 7 * (more + 1)) - 1 else value
