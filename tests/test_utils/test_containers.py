"""Where a container says that it ends, and where it is broken, written by hand byte by byte."""

import pytest

from stt_mm.utils.containers import broken_at, is_cut_off


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
    # Of an AVI up to nine bytes may be counted too much.
    less = 10 if name.startswith('avi') else 1
    for data, cut in (
        (WHOLE[name], False),
        (WHOLE[name][:-less], name != 'box of nothing'),
        (WHOLE[name][: len(WHOLE[name]) - less + 1], False),
        (WHOLE[name] + b'.', False),
    ):
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
        (b'\x1a\x45\xdf\xa3\x01\x7f' + bytes(6) + b'more', False),  # A header beyond all that a system can seek to.
        (b'\x1a\x45\xdf\xa3\0' + b'\x7f' * 12, True),
    ],
)
def test_parts_that_reach_beyond_the_end(tmp_path, data, cut):
    (tmp_path / 'a').write_bytes(data)
    assert is_cut_off(tmp_path / 'a') is cut


def element(name, content=b'', size=None):
    return bytes.fromhex(name) + (bytes([0x80 | len(content)]) if size is None else size) + content


UNKNOWN = b'\x01' + 7 * b'\xff'
TRACKS = element('1654ae6b', element('ae', element('d7', b'\x02') + element('e0', b'\xb0\x81\x05')))
BLOCK = element('a3', b'\x82\0\0\x80pixels')
GROUP = element('a0', element('a1', b'\x82\0\x05\0more') + element('9b', b'\x01'))
CLUSTERS = [element('1f43b675', element('e7', b'\x09') + BLOCK + GROUP + BLOCK) for _ in range(2)]


def segment(*parts, size=None):
    content = b''.join(parts)
    return ebml(size or (0x4000 | len(content)).to_bytes(2, 'big')) + content


@pytest.mark.parametrize('size', [None, UNKNOWN])
def test_a_whole_segment_is_broken_nowhere(tmp_path, size):
    live = [part[:4] + UNKNOWN + part[5:] for part in CLUSTERS]
    for clusters in (CLUSTERS, live, [CLUSTERS[0], live[1], CLUSTERS[0]]):
        data = segment(element('114d9b74', bytes(9)), TRACKS, *clusters, element('1c53bb6b', b'cues'), size=size)
        for tail in (b'', b'garbage of a camera' if size is None else bytes(2000)):
            (tmp_path / 'a').write_bytes(data + tail)
            assert broken_at(tmp_path / 'a') is None
        # Cut off, which is another thing.
        if clusters is CLUSTERS:
            for left in range(1, len(CLUSTERS[0]) - 20):
                (tmp_path / 'a').write_bytes(data[: -9 - left])
                assert broken_at(tmp_path / 'a') is None


def test_what_writers_do_is_not_damage(tmp_path):
    """An element of a later version or of a program's own, and a segment that is longer than it says."""
    path, own = tmp_path / 'a', element('1f43b675', BLOCK + element('4abc', b'own') + element('b3', b'') + BLOCK)
    for parts in ([own, *CLUSTERS], [*CLUSTERS, element('1a7f0001', b'new'), own]):
        path.write_bytes(segment(TRACKS, *parts))
        assert broken_at(path) is None
    path.write_bytes(segment(*CLUSTERS, TRACKS))
    assert broken_at(path) is None  # The tracks may stand behind the frames.
    content = TRACKS + b''.join(CLUSTERS)
    for size in (len(content) - 5, len(TRACKS) + 3):
        path.write_bytes(ebml((0x4000 | size).to_bytes(2, 'big')) + content)
        assert broken_at(path) is None
    path.write_bytes(segment(TRACKS, *CLUSTERS)[:-3] + bytes(3))
    assert broken_at(path) is None  # The picture of the last block.


def test_every_other_name_size_or_track_is_where_a_segment_breaks(tmp_path):
    path, data = tmp_path / 'a', segment(TRACKS, *CLUSTERS)
    start = data.rindex(CLUSTERS[0])
    assert data[start:] == CLUSTERS[1]
    block = start + 5 + 3
    group = block + len(BLOCK)
    for at, byte, broken in [
        (block, 0, block),  # No name begins so.
        (block, 0xA8, None),  # An element of its own; it may be.
        (block, 0x53, block),  # Another name is longer, and so what follows is no size.
        (block + 1, 0xFE, block),  # It reaches beyond its cluster.
        (block + 1, 0xFF, block),  # Only segments and clusters may be without a size.
        (block + 2, 0x81, block),  # There is no such track.
        (block + 2, 0, block),
        (group, 0xAE, None),
        (group + 3, 0x90, group + 2),
        (group + 4, 0x83, group + 2),
        (start, 0x1E, None),  # Another part of a segment, whatever it is.
        (start, 0x9F, start),
        (start + 4, 0xFE, start),
        (start + 4, 0x83, start + 8),  # The cluster ends early, and a block stands outside.
    ]:
        path.write_bytes(data[:at] + bytes([byte]) + data[at + 1 :])
        assert broken_at(path) == broken, (at - start, hex(byte))
    for name in ('1f43b675', '1654ae6b', 'ae', 'd7'):  # Sizes that no file has, or none.
        for size in (b'\x01\x7f' + bytes(6), b'\0'):
            path.write_bytes(segment(element('1654ae6b', element(name, b'\x02', size)), *CLUSTERS, size=UNKNOWN))
            assert broken_at(path) is not None
    for other in (b'', b'RIFF' + data[4:], HEAD + data):
        path.write_bytes(other)
        assert broken_at(path) is None
