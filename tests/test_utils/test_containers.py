"""Where a container says that it ends, written by hand: the last byte that belongs to it, and one less."""

import pytest

from stt_mm.utils.containers import is_cut_off


def box(kind, content=b'', size=None):
    return (8 + len(content) if size is None else size).to_bytes(4, 'big') + kind + content


def large_box(kind, content):
    return (1).to_bytes(4, 'big') + kind + (16 + len(content)).to_bytes(8, 'big') + content


def ebml(size, header=b'\x42\x86\x81\x01'):
    """A header and a segment whose size is written in as many bytes as ``size`` has."""
    return b'\x1a\x45\xdf\xa3' + bytes([0x80 | len(header)]) + header + b'\x18\x53\x80\x67' + size


HEAD = box(b'ftyp', b'isom0000')
WHOLE = {
    'boxes': HEAD + box(b'moov', bytes(20)) + box(b'mdat', bytes(100)),
    'media first': box(b'mdat', bytes(9)) + box(b'moov', bytes(3)),
    'box of nothing': HEAD + box(b'mdat'),
    'box of 64 bits': HEAD + large_box(b'mdat', bytes(70)),
    'fragments': box(b'styp') + box(b'moof', bytes(5)) + box(b'mdat', bytes(5)),
    'quicktime': box(b'wide') + box(b'mdat', bytes(5)),
    'avi': b'RIFF' + (50).to_bytes(4, 'little') + bytes(50),
    'avi of odd size': b'RIFF' + (0x0101).to_bytes(4, 'little') + bytes(0x0101),
    'one byte': ebml(b'\x85') + bytes(5),
    'two bytes': ebml(b'\x41\x02') + bytes(0x102),
    'four bytes': ebml(b'\x10\0\x01\x02') + bytes(0x102),
    'eight bytes': ebml(b'\x01' + bytes(5) + b'\x01\x02') + bytes(0x102),
    'long header': ebml(b'\x85', bytes(19)) + bytes(5),
    'header of no bytes': ebml(b'\x85', b'') + bytes(5),
}


@pytest.mark.parametrize('name', WHOLE)
def test_the_last_byte_tells_whether_a_file_is_whole(tmp_path, name):
    path = tmp_path / 'a'
    for data, cut in ((WHOLE[name], False), (WHOLE[name][:-1], name != 'box of nothing'), (WHOLE[name] + b'.', False)):
        path.write_bytes(data)
        assert is_cut_off(path) is cut


@pytest.mark.parametrize(
    ('data', 'cut'),
    [
        (HEAD + box(b'mdat', size=100), True),  # Nothing but its eight bytes is there.
        (HEAD + box(b'mdat', size=9), True),
        (HEAD + box(b'moov', size=100), True),
        (HEAD + box(b'moof', size=100), True),
        (HEAD + box(b'free', size=100), False),  # No frame is lost.
        (HEAD + box(b'mdat', bytes(50), size=0), False),  # Up to the end.
        (HEAD + box(b'gps ', bytes(50), size=7), False),
        (HEAD + box(b'mdat', size=100)[:7], False),  # What is no box.
        (b'RIFF' + b'\xff' * 4, False),
        (b'RIFF' + b'\xff\xff\xff\xfe' + bytes(9), True),
        (ebml(b'\xff'), False),  # All ones: not known.
        (ebml(b'\x7f\xff'), False),
        (ebml(b'\x01' + 7 * b'\xff'), False),
        (ebml(b'\xfe'), True),
        (ebml(b'\x7f\xfe'), True),
        (b'', False),
        (b'RI', False),
        (b'not a video at all', False),
    ],
)
def test_parts_that_reach_beyond_the_end(tmp_path, data, cut):
    (tmp_path / 'a').write_bytes(data)
    assert is_cut_off(tmp_path / 'a') is cut
