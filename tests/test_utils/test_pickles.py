"""Pickles of arrays are read as NumPy and Python write them; whatever else they name is refused and never called."""

import copyreg
import os
import pickle
from collections import OrderedDict
from pathlib import PurePosixPath

import numpy as np
import pytest

from stt_mm.errors import InputError
from stt_mm.utils.pickles import array_of, read_pickle

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.asfortranarray(np.random.default_rng(0).random((3, 4), np.float32)),
    np.array([[True, False]]),
    np.random.default_rng(1).random((4, 6))[:, ::2],
    np.zeros((0, 3)),
    np.array(3.5),
    np.arange(3, dtype='>i4'),
]


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(protocol, tmp_path):
    path = tmp_path / 'a.pkl'
    for array in ARRAYS:
        shared = [array, b'\x00\xff', 'text', 1.5, None, (True, -3)]
        path.write_bytes(pickle.dumps(dict(one=array, more=shared), protocol))
        content = read_pickle(path)
        assert content['more'][1:] == shared[1:]
        for value in (content['one'], content['more'][0]):
            found = array_of(value)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
    assert array_of(shared) is None


class Calls:
    """What pickles as a call of anything."""

    def __init__(self, call, *args, state=None):
        self.parts = (call, args) if state is None else (call, args, state)

    def __reduce_ex__(self, protocol):
        return self.parts


def text(*lines):
    """A pickle written by hand, in the protocol of text."""
    return '\n'.join(lines).encode()


reconstruct = np.zeros(1).__reduce__()[0]
MARK = 'never_made_by_a_pickle'


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        (Calls(os.system, f'touch {MARK}'), r'names (posix|nt)\.system'),
        (Calls(eval, f'open({MARK!r}, "w")'), r'names (builtins|__builtin__)\.eval'),
        (Calls(getattr, [], 'sort'), r'names (builtins|__builtin__)\.getattr'),
        (OrderedDict(a=1), r'names collections\.OrderedDict'),
        (PurePosixPath('a'), r'names pathlib'),
        (np.float32(3), r'names numpy.*\.scalar'),
        (np.ma.masked_array([1.0]), r'names numpy\.ma'),
        (np.array([{}], object), "an array of 'O8', which are no numbers"),
        (np.array(['a']), "an array of 'U1', which are no numbers"),
        (np.array(['2020'], 'M8[s]'), "an array of 'M8', which are no numbers"),
        (np.zeros(2, [('x', 'f4')]), "an array of 'V4', which are no numbers"),
        (Calls(np.ndarray, (10**9,)), 'makes an array by itself'),
        (Calls(reconstruct, np.dtype, (0,), b'b'), 'another kind of array than numpy.ndarray'),
        (Calls(reconstruct, np.ndarray, (0,), b'b', state=(1, (2,), np.dtype('f8'), False, b'123')), 'in 3 bytes'),
        (Calls(reconstruct, np.ndarray, (0,), b'b', state=(1, (-1,), np.dtype('f8'), False, b'')), 'not of numbers'),
        (Calls(reconstruct, np.ndarray, (0,), b'b', state=(1, (1,), np.dtype('f8'), False, [1.0])), 'not of numbers'),
        (Calls(reconstruct, np.ndarray, (0,), b'b', state={}), 'an array that is none'),
        (Calls(np.dtype, 'f8', state=(3, '<', None, ('x',), {}, 8, 1, 0)), 'an array of records'),
        (Calls(np.dtype, 'f8', state=(3, '?', None, None, None)), 'a type of numbers that is none'),
    ],
)
def test_what_is_no_array_is_refused_by_its_name(content, named, tmp_path):
    path = tmp_path / 'a.pkl'
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(dict(a=[content]), protocol))
        with pytest.raises(InputError, match=named) as caught:
            read_pickle(path)
        assert str(caught.value).startswith(f'{path} ')
        assert 'Nothing of it was run' in str(caught.value)
    assert not os.path.exists(MARK)


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        # A state for the function itself: nothing may be hung on what later files are read with.
        (text('c_codecs', 'encode', '}Vx', 'I1', 'sb.'), 'sets attributes of a function'),
        (text('c_codecs', 'encode', '(Va', 'Vrot13', 'tR.'), 'bytes in an encoding of its own'),
        (text('cnumpy', 'dtype', '(Vf8', 'tR}b.'), 'a type of numbers that is none'),
        (text('cnumpy', 'os.system', '.'), r'names numpy\.os\.system'),
        (text('(ios', 'system', '.'), r'names os\.system'),
        (b'Pname\n.', 'cannot be read as a pickle'),
        (b'', 'cannot be read as a pickle'),
        (b'no pickle', 'cannot be read as a pickle'),
        (pickle.dumps([1, 2, 3])[:-3], 'cannot be read as a pickle'),
        (b'\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0fabc.', 'cannot be read as a pickle'),
    ],
)
def test_pickles_written_by_hand(content, named, tmp_path):
    path = tmp_path / 'a.pkl'
    path.write_bytes(content)
    with pytest.raises(InputError, match=named):
        read_pickle(path)


def test_registered_extensions_are_names_too(tmp_path):
    copyreg.add_extension(os.getpid.__module__, 'getpid', 240)
    try:
        (tmp_path / 'a.pkl').write_bytes(pickle.dumps(os.getpid, 2))
        with pytest.raises(InputError, match=r'names (posix|nt)\.getpid'):
            read_pickle(tmp_path / 'a.pkl')
    finally:
        copyreg.remove_extension(os.getpid.__module__, 'getpid', 240)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'a\.pkl'):
        read_pickle(tmp_path / 'a.pkl')
    with pytest.raises(OSError, match='cannot be read'):
        read_pickle(tmp_path)
