"""Joint positions as JHMDB keeps them, in MATLAB files of level 5 (``save -v6`` and ``-v7``).

The format in short: a header of 128 bytes, then one element per variable. An element is a tag (type and number of
bytes, four bytes each) and data that end at a multiple of 8 bytes; up to four bytes of data may stand in the tag. A
variable is an element of elements: flags, dimensions, name, numbers; a compressed one is zlib data that hold it. Only
the variable that is asked for is decoded, and only if its numbers are as many as its dimensions say. SciPy's reader
ends the process at some damaged files.
"""

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from stt_mm.errors import FileError, InputError, MissingInputError
from stt_mm.utils.checkpoint import write_atomically

MAX_BYTES = 64 * 2**20  # of a file, and of a variable; the files of JHMDB have some 30 KB
MAX_POSITION = 1e6  # pixels
_HDF5 = b'\x89HDF\r\n\x1a\n'
_LEVEL_5 = b'\x00\x01IM'  # as all computers write it on which MATLAB runs today
# Types of elements. Whole numbers are stored as the smallest type that holds them, whatever the variable's class is.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_STORED = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
_CLASSES = {6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2', 12: 'i4', 13: 'u4', 14: 'i8', 15: 'u8'}
_OTHER_CLASSES = {1: 'a cell array', 2: 'a struct', 3: 'an object', 4: 'text', 5: 'a sparse array'}
_COMPLEX = 0x08
# More than the tag, flags, 32 dimensions and the name of a variable, which MATLAB cuts at 63 characters.
_HEAD_BYTES = 512


def read_joint_positions(path: str | Path) -> np.ndarray:
    """Joints of all frames of one clip, from ``pos_img`` ``[2, J, T]``, whose (x, y) count from 1, as MATLAB does.

    Returns:
        float32 ``[T, J, 2]``, (x, y) in pixels that count from 0. Joints may lie outside the image; NaN means not
        visible.
    """
    positions = read_matrix(path, 'pos_img')
    if positions.ndim == 2:
        positions = positions[..., None]  # MATLAB drops the last axis of a clip with one frame
    if positions.ndim != 3 or positions.shape[0] != 2 or positions.size == 0:
        raise InputError(f'{path}: pos_img must be numbers [2, joints, frames], got {list(positions.shape)}.')
    positions = positions.transpose(2, 1, 0).astype(np.float64)
    absurd = np.argwhere(np.abs(positions) > MAX_POSITION)
    if len(absurd):
        frame, joint, _ = absurd[0]
        raise InputError(
            f'{path}: joint {joint + 1} of frame {frame + 1} is at {positions[frame, joint].tolist()}, which is no '
            f'position in pixels (at most {MAX_POSITION:.0f}); NaN marks a joint that is not visible. Repair the file.'
        )
    return (positions - 1).astype(np.float32)


def write_joint_positions(path: str | Path, points: np.ndarray) -> None:
    """Writes joints of a clip as :func:`read_joint_positions` and MATLAB read them.

    Args:
        path: of the file; missing folders are made.
        points: ``[T, J, 2]``, (x, y) in pixels that count from 0, NaN where a joint is not visible.
    """
    positions = np.asarray(points, '<f8').transpose(2, 1, 0) + 1
    double, numbers = 9, positions.tobytes(order='F')

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack('<2I', kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b'\0')

    head = element(_UINT32, struct.pack('<2I', 6, 0)) + element(_INT32, struct.pack('<3i', *positions.shape))
    variable = element(_MATRIX, head + element(_INT8, b'pos_img') + element(double, numbers))
    write_atomically(b'MATLAB 5.0 MAT-file'.ljust(124) + _LEVEL_5 + variable, path)


def read_matrix(path: str | Path, name: str) -> np.ndarray:
    """The numbers of a variable in a file of level 5, in the type and the shape that it has in MATLAB."""
    try:
        with open(path, 'rb') as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingInputError(f'Joint positions not found: {path}.') from None
    except OSError as error:
        raise FileError(f'{path} cannot be read: {error.strerror or error}.') from error
    try:
        return _find(memoryview(_checked(data, name)), name)
    except InputError as error:
        raise InputError(f'{path} {error}') from None
    except (ValueError, struct.error, zlib.error) as error:
        raise InputError(
            f'{path} cannot be read as a MATLAB file ({error}): it is cut off or damaged. Copy or download it again.'
        ) from error


def _checked(data: bytes, name: str) -> bytes:
    """The same data if they are a file of level 5; anything else is refused by what it is."""
    save = f"in MATLAB by save(file, '{name}', '-v7')"
    if data[:8] == _HDF5 or data[512:520] == _HDF5:
        raise InputError(
            f'is a MATLAB 7.3 file, which is HDF5. Save it again {save}, or in Python by scipy.io.savemat(new, '
            f"{{'{name}': h5py.File(old)['{name}'][()].T}})."
        )
    if data[124:128] != _LEVEL_5:
        raise InputError(
            f'is no MATLAB file of level 5, it begins with {data[:16]!r}. Copy or download it again, or save it {save}.'
        )
    if len(data) > MAX_BYTES:
        raise InputError(f'has more than {MAX_BYTES >> 20} MiB, too much for {name}. Save that variable alone, {save}.')
    return data


def _find(data: memoryview, name: str) -> np.ndarray:
    others, position = [], 128
    while position < len(data):
        kind, content, position = _element(data, position)
        if kind == _COMPRESSED:
            found = _name(_inflate(content, _HEAD_BYTES)[8:])
            if found == name:
                content = _whole(content)
        elif kind == _MATRIX:
            found = _name(content)
        else:
            raise ValueError(f'type {kind} where a variable begins')
        if found == name:
            return _numbers(content, name)
        others.append(found)
    raise InputError(f'holds {", ".join(others) or "nothing"}, but no {name}. Expected a joint_positions.mat of JHMDB.')


def _element(data: memoryview, position: int) -> tuple[int, memoryview, int]:
    """Type and data of the element at a position, and the position of the next one."""
    kind = struct.unpack_from('<I', data, position)[0]
    if kind >> 16:
        size, kind, start, end = kind >> 16, kind & 0xFFFF, position + 4, position + 8
        if size > 4:
            raise ValueError(f'{size} bytes in a tag')
    else:
        size, start = struct.unpack_from('<I', data, position + 4)[0], position + 8
        end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
    if start + size > len(data):
        raise ValueError(f'an element of {size} bytes where {max(len(data) - start, 0)} are left')
    return kind, data[start : start + size], end


def _head(content: memoryview) -> tuple[int, tuple[int, ...], str, int]:
    """Flags, shape and name of a variable, and where its numbers begin."""
    kind, flags, position = _element(content, 0)
    if kind != _UINT32 or len(flags) != 8:
        raise ValueError('a variable without flags')
    kind, sizes, position = _element(content, position)
    shape = struct.unpack(f'<{len(sizes) // 4}i', sizes)
    if kind != _INT32 or not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise ValueError(f'a variable of shape {list(shape[:33])}')
    kind, name, position = _element(content, position)
    if kind != _INT8:
        raise ValueError('a variable without a name')
    return struct.unpack_from('<I', flags)[0], shape, bytes(name[:64]).decode('latin-1'), position


def _name(content: memoryview) -> str:
    return _head(content)[2]


def _inflate(content: memoryview, limit: int) -> memoryview:
    """The first bytes of zlib data."""
    return memoryview(zlib.decompressobj().decompress(content, limit))


def _whole(content: memoryview) -> memoryview:
    """A compressed variable; its checksum is verified."""
    kind, size = struct.unpack('<2I', _inflate(content, 8))
    if size > MAX_BYTES:
        raise InputError(f'asks for {size >> 20} MiB of memory, which no joints need (at most {MAX_BYTES >> 20} MiB).')
    inflater = zlib.decompressobj()
    data = inflater.decompress(content, size + 9)  # A byte more than there should be.
    if kind != _MATRIX or len(data) != size + 8 or not inflater.eof:
        raise ValueError(f'compressed data that are no variable of {size} bytes')
    return memoryview(data)[8:]


def _numbers(content: memoryview, name: str) -> np.ndarray:
    flags, shape, _, position = _head(content)
    if flags & 0xFF in _OTHER_CLASSES or flags >> 8 & _COMPLEX:
        what = _OTHER_CLASSES.get(flags & 0xFF, 'complex')
        raise InputError(f'holds {name} as {what}. Expected real numbers.')
    kind, values, _ = _element(content, position)
    target, stored = _CLASSES.get(flags & 0xFF), _STORED.get(kind)
    if target is None or stored is None:
        raise ValueError(f'numbers of class {flags & 0xFF} stored as type {kind}')
    source, target = np.dtype('<' + stored), np.dtype(target)
    fits = np.can_cast(source, target) or (source.kind in 'iu' and target.kind == 'f')
    if not fits or len(values) != math.prod(shape) * source.itemsize:
        raise ValueError(f'{len(values)} bytes of {source.name} for {target.name} {list(shape)}')
    return np.frombuffer(values, source).astype(target).reshape(shape, order='F')
