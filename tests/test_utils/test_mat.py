"""The reader of MATLAB files against SciPy's, on files of SciPy and of a writer of all that the format allows."""

import random
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from stt_mm.errors import InputError
from stt_mm.utils.mat import read_joint_positions, read_matrix

CLASSES = {'f8': 6, 'f4': 7, 'i1': 8, 'u1': 9, 'i2': 10, 'u2': 11, 'i4': 12, 'u4': 13, 'i8': 14, 'u8': 15}
TYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 9, 'i8': 12, 'u8': 13}
SHAPES = hnp.array_shapes(min_dims=2, max_dims=5, min_side=0, max_side=4)


def element(kind, data, small=False):
    if small and 0 < len(data) <= 4:
        return struct.pack('<I', len(data) << 16 | kind) + data.ljust(4, b'\0')
    return struct.pack('<2I', kind, len(data)) + data + b'\0' * (-len(data) % 8)


def variable(name, values, stored, small=False, compressed=False, flags=0, shape=None):
    """One variable as MATLAB writes it: numbers of the type ``stored``, whatever the class is."""
    shape = values.shape if shape is None else shape
    head = element(6, struct.pack('<2I', CLASSES[values.dtype.str[1:]] | flags, 0))
    head += element(5, struct.pack(f'<{len(shape)}i', *shape)) + element(1, name.encode(), small)
    numbers = values.astype('<' + stored).tobytes(order='F')
    whole = element(14, head + element(TYPES[stored], numbers, small))
    return struct.pack('<2I', 15, len(zlib.compress(whole))) + zlib.compress(whole) if compressed else whole


def write(path, *variables):
    mark = struct.pack('<2H', 0x0100, 0x4D49)
    path.write_bytes(b'MATLAB 5.0 MAT-file'.ljust(124) + mark + b''.join(variables))
    return path


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(), kind=st.sampled_from(sorted(TYPES)), shape=SHAPES, compressed=st.booleans(), fortran=st.booleans()
)
def test_what_scipy_writes_is_read_as_scipy_reads_it(data, kind, shape, compressed, fortran, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'scipy.mat'
    values = data.draw(hnp.arrays(np.dtype(kind), shape))
    others = dict(text='pos_img', cells=np.array([1, 'a'], object), struct=dict(pos_img=1))
    savemat(path, dict(others, pos_img=np.asarray(values, order='F' if fortran else 'C')), do_compression=compressed)
    read, expected = read_matrix(path, 'pos_img'), loadmat(path)['pos_img']
    assert (read.dtype, read.shape) == (expected.dtype, expected.shape) == (np.dtype(kind), shape)
    assert np.array_equal(read, expected, equal_nan=kind[0] == 'f')


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    kind=st.sampled_from(['f8', 'f4', 'i2', 'u8']),
    shape=SHAPES,
    stored=st.sampled_from(['i1', 'u1', 'u2', 'i4', None]),
    small=st.booleans(),
    compressed=st.booleans(),
)
def test_all_that_the_format_allows(data, kind, shape, stored, small, compressed, tmp_path_factory):
    stored = stored if stored and (kind[0] == 'f' or np.can_cast(stored, kind)) else kind
    limits = np.iinfo(stored) if stored[0] != 'f' else np.iinfo('i2')
    numbers = st.integers(limits.min, min(limits.max, 2**15))
    values = data.draw(hnp.arrays(np.int64, shape, elements=numbers)).astype(kind)
    others = [variable(name, np.ones((2, 3)), 'f8', compressed=not compressed) for name in 'xy']
    own = variable('pos_img', values, stored, small, compressed)
    path = write(tmp_path_factory.getbasetemp() / 'own.mat', others[0], own, others[1])
    read = read_matrix(path, 'pos_img')
    assert (read.dtype, read.shape) == (np.dtype(kind), shape)
    assert np.array_equal(read, values)
    assert np.array_equal(read, loadmat(path, mat_dtype=True)['pos_img'])


@pytest.mark.parametrize('cut', [1, 4])
def test_compressed_numbers_without_the_end_of_their_checksum_are_damaged(tmp_path, cut):
    data = zlib.compress(variable('pos_img', np.ones((2, 3, 4)), 'f8'))
    path = write(tmp_path / 'a.mat', struct.pack('<2I', 15, len(data) - cut) + data[:-cut])
    with pytest.raises(InputError, match=r'compressed data that are no variable .* it is cut off or damaged'):
        read_matrix(path, 'pos_img')


@pytest.mark.parametrize('hdf5_at', [0, 512])
def test_matlab_73_is_named_with_the_way_out(tmp_path, hdf5_at):
    path = tmp_path / 'a.mat'
    path.write_bytes(b'MATLAB 7.3 MAT-file'[:hdf5_at].ljust(hdf5_at) + b'\x89HDF\r\n\x1a\n' + bytes(2000))
    match = r"a\.mat is a MATLAB 7\.3 file.*save\(file, 'pos_img', '-v7'\).*h5py"
    with pytest.raises(InputError, match=match) as caught:
        read_joint_positions(path)
    assert 'download' not in str(caught.value)


def test_matlab_4_is_refused_with_the_way_out(tmp_path):
    savemat(tmp_path / 'a.mat', dict(pos_img=np.ones((2, 15))), format='4')
    with pytest.raises(InputError, match=r"a\.mat is no MATLAB file of level 5.*save\(file, 'pos_img', '-v7'\)"):
        read_joint_positions(tmp_path / 'a.mat')


@pytest.mark.parametrize(
    ('content', 'what'),
    [
        ('text', 'as text'),
        (dict(a=1), 'as a struct'),
        (np.array([1, 'a'], object), 'as a cell array'),
        (np.ones((2, 15, 4)) * 1j, 'as complex'),
    ],
)
def test_what_is_no_array_of_real_numbers(tmp_path, content, what):
    savemat(tmp_path / 'a.mat', dict(pos_img=content))
    with pytest.raises(InputError, match=f'holds pos_img {what}. Expected real numbers'):
        read_joint_positions(tmp_path / 'a.mat')


@pytest.mark.parametrize('value', [1e300, -1e7, np.inf])
def test_positions_that_are_none(tmp_path, value):
    positions = np.ones((2, 15, 4))
    positions[0, 2, 3] = value
    positions[:, 4, 1] = np.nan
    savemat(tmp_path / 'a.mat', dict(pos_img=positions))
    with pytest.raises(InputError, match=r'a\.mat: joint 3 of frame 4 is at \[.*, 1\.0\], which is no position'):
        read_joint_positions(tmp_path / 'a.mat')


def test_no_file_asks_for_more_memory_than_joints_need(tmp_path):
    """A compressed gigabyte, numbers that the file does not hold, and a file of its own that is too large."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    packer, zeros = zlib.compressobj(9), bytes(2**20)
    head = variable('pos_img', np.zeros((0, 2)), 'f8', shape=(2, 16, 2**22))[8:-8]
    size = 2**30
    packed = packer.compress(struct.pack('<2I', 14, size + len(head) + 8) + head + struct.pack('<2I', 9, size))
    packed += b''.join(packer.compress(zeros) for _ in range(100)) + packer.flush()
    write(tmp_path / 'bomb.mat', struct.pack('<2I', 15, len(packed)) + packed)
    write(tmp_path / 'wide.mat', variable('pos_img', np.zeros((2, 3)), 'f8', shape=(2, 2**20, 2**10)))
    write(tmp_path / 'large.mat', variable('pos_img', np.zeros((2, 3)), 'f8'))
    with open(tmp_path / 'large.mat', 'r+b') as file:
        file.truncate(2**33)
    for name, match in (
        ('bomb', 'asks for 1024 MiB'),
        ('wide', 'cannot be read as a MATLAB file'),
        ('large', 'more than 64 MiB'),
    ):
        with pytest.raises(InputError, match=match):
            read_joint_positions(tmp_path / f'{name}.mat')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024  # KiB


def test_damaged_files_are_read_or_refused(tmp_path):
    """300 files with a few bytes changed or cut, the one that takes SciPy's reader down among them."""
    rng, path, messages = random.Random(0), tmp_path / 'a.mat', []
    wholes = []
    for compressed in (False, True):
        savemat(path, dict(text='abc', pos_img=np.zeros((2, 15, 4))), do_compression=compressed)
        wholes.append(path.read_bytes())
    savemat(path, dict(pos_img=np.zeros((2, 15, 4))))
    fatal = bytearray(path.read_bytes())
    fatal[192] = 255
    start = time.monotonic()
    for number in range(300):
        data = bytearray(wholes[number % 2]) if number else fatal
        for _ in range(rng.randint(1, 4) if number else 0):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 14, 15, 127, 255, rng.randrange(256)))
        path.write_bytes(data[: rng.choice((None, rng.randrange(len(data))))] if number % 5 == 1 else data)
        try:
            assert read_matrix(path, 'pos_img').shape
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(message.startswith(str(path)) for message in messages)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize('sides', [1, 2, 32, 33])
def test_numbers_have_2_to_32_dimensions(tmp_path, sides):
    values = variable('pos_img', np.ones((2, 3)), 'f8', shape=(6, *[1] * (sides - 1)))
    path = write(tmp_path / 'a.mat', values)
    if 2 <= sides <= 32:
        assert read_matrix(path, 'pos_img').ndim == sides
    else:
        with pytest.raises(InputError, match='a variable of shape'):
            read_matrix(path, 'pos_img')


@pytest.mark.parametrize('flags', [0x0100, 0x0200, 0x0400, 0x0700])
def test_a_variable_may_be_logical_or_global(tmp_path, flags):
    write(tmp_path / 'a.mat', variable('pos_img', np.ones((2, 3)), 'u1', flags=flags))
    assert read_matrix(tmp_path / 'a.mat', 'pos_img').tolist() == [[1] * 3] * 2


def test_a_position_may_be_a_million_and_no_more(tmp_path):
    for value in (1e6, -1e6):
        savemat(tmp_path / 'a.mat', dict(pos_img=np.full((2, 1, 1), value)))
        assert read_joint_positions(tmp_path / 'a.mat').tolist() == [[[value - 1] * 2]]
    savemat(tmp_path / 'a.mat', dict(pos_img=np.full((2, 1, 1), 1e6 + 1)))
    with pytest.raises(InputError, match='which is no position'):
        read_joint_positions(tmp_path / 'a.mat')


@pytest.mark.parametrize('compressed', [False, True])
def test_the_largest_file_and_the_largest_variable_are_read(tmp_path, monkeypatch, compressed):
    values = np.zeros((2, 3, 400))
    path = write(tmp_path / 'a.mat', variable('pos_img', values, 'f8', compressed=compressed))
    largest = len(variable('pos_img', values, 'f8')) - 8 if compressed else path.stat().st_size
    monkeypatch.setattr('stt_mm.utils.mat.MAX_BYTES', largest)
    assert read_matrix(path, 'pos_img').shape == values.shape
    monkeypatch.setattr('stt_mm.utils.mat.MAX_BYTES', largest - 1)
    with pytest.raises(InputError, match=f'{"asks for" if compressed else "has more than"} 0 MiB'):
        read_matrix(path, 'pos_img')


@pytest.mark.parametrize('shape', [(2, 0, 4), (2, 15, 0), (3, 15, 4), (15, 2, 4), (2, 3, 4, 2), (1, 2)])
def test_joints_have_two_coordinates_each(tmp_path, shape):
    write(tmp_path / 'a.mat', variable('pos_img', np.ones(shape), 'f8'))
    with pytest.raises(InputError, match=r'pos_img must be numbers \[2, joints, frames\], got'):
        read_joint_positions(tmp_path / 'a.mat')


def test_the_shortest_name_and_number_lie_in_their_tags(tmp_path):
    for length in range(1, 5):
        name, values = 'abcd'[:length], np.arange(length)[None].astype('u1')
        write(tmp_path / 'a.mat', variable(name, values, 'u1', small=True))
        assert read_matrix(tmp_path / 'a.mat', name).tolist() == values.tolist()


@pytest.mark.parametrize('more', [b'', b'1', bytes(9)])
def test_a_compressed_variable_ends_where_it_says(tmp_path, more):
    data = zlib.compress(variable('pos_img', np.ones((2, 3)), 'f8') + more)
    write(tmp_path / 'a.mat', struct.pack('<2I', 15, len(data)) + data)
    if not more:
        assert read_matrix(tmp_path / 'a.mat', 'pos_img').shape == (2, 3)
        return
    with pytest.raises(InputError, match='compressed data that are no variable'):
        read_matrix(tmp_path / 'a.mat', 'pos_img')


def test_what_a_file_holds_is_named_where_the_joints_are_missing(tmp_path):
    others = [variable(name, np.ones((2, 3)), 'f8', compressed=name == 'y') for name in 'xy']
    for held, words in ((others, 'holds x, y, but no pos_img'), ([], 'holds nothing, but no pos_img')):
        with pytest.raises(InputError, match=words):
            read_matrix(write(tmp_path / 'a.mat', *held), 'pos_img')


@pytest.mark.parametrize(('version', 'size'), [(0x0200, 400), (0x0101, 400), (0x0100, 127), (0x0100, 19), (0x0100, 0)])
def test_another_version_and_a_head_that_is_cut_off_are_no_matlab_file(tmp_path, version, size):
    data = b'MATLAB 5.0 MAT-file'.ljust(124) + struct.pack('<2H', version, 0x4D49) + bytes(300)
    (tmp_path / 'a.mat').write_bytes(data[:size])
    with pytest.raises(InputError, match='is no MATLAB file of level 5, it begins with'):
        read_matrix(tmp_path / 'a.mat', 'pos_img')


def test_no_dimension_is_negative(tmp_path):
    write(tmp_path / 'a.mat', variable('pos_img', np.ones((2, 3)), 'f8', shape=(-2, -3)))
    with pytest.raises(InputError, match=r'a variable of shape \[-2, -3\]'):
        read_matrix(tmp_path / 'a.mat', 'pos_img')
