import os
import resource
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image

from stt_mm.errors import InputError
from stt_mm.utils import read_mask, read_object_ids, resize_mask, voc_palette, write_mask
from stt_mm.utils.masks import as_ids, display_colors


def test_palette_is_that_of_voc():
    palette = voc_palette()
    expected = [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
        [192, 0, 0],
    ]
    assert palette[:10].tolist() == expected
    assert palette[20].tolist() == [0, 64, 128]
    assert palette[255].tolist() == [224, 224, 192]
    assert len({tuple(color) for color in palette.tolist()}) == 256


@settings(max_examples=30, deadline=None)
@given(mask=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_round_trip_keeps_every_id(tmp_path_factory, mask):
    path = tmp_path_factory.mktemp('masks') / 'new' / 'mask.png'
    write_mask(path, mask)
    assert np.array_equal(read_mask(path), mask)
    with Image.open(path) as image:
        assert image.mode == 'P'
        assert np.array_equal(np.array(image.convert('RGB')), voc_palette()[mask])


def test_grey_and_binary_files_are_ids_too(tmp_path):
    ids = np.array([[0, 3], [200, 1]], np.uint8)
    Image.fromarray(ids).save(tmp_path / 'grey.png')
    Image.fromarray(ids == 3).save(tmp_path / 'binary.png')
    assert np.array_equal(read_mask(tmp_path / 'grey.png'), ids)
    assert np.array_equal(read_mask(tmp_path / 'binary.png'), ids == 3)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_grey_of_few_bits_keeps_its_numbers(tmp_path, bits):
    """Pillow spreads them over 0 to 255: 1 of two bits is 85."""
    ids = np.arange(2 ** min(bits, 4)).reshape(2, -1).astype(np.uint8)
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1)).tobytes() for row in ids]
    height, width = ids.shape
    header = struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)
    content = zlib.compress(b''.join(b'\0' + row for row in rows))
    (tmp_path / 'mask.png').write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + b''.join(
            struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
            for kind, body in ((b'IHDR', header), (b'IDAT', content), (b'IEND', b''))
        )
    )
    # Width, height, bits of a sample, no compression, black is 0, where the rows begin, all in one strip, its size.
    data = b''.join(rows)
    tags = ((256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (278, height), (279, len(data)))
    (tmp_path / 'mask.tif').write_bytes(
        b'II*\0'
        + struct.pack('<I', 8 + len(data))
        + data
        + struct.pack('<H', len(tags))
        + b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
        + bytes(4)
    )
    assert read_mask(tmp_path / 'mask.png').tolist() == ids.tolist()
    assert read_mask(tmp_path / 'mask.tif').tolist() == ids.tolist()


@pytest.mark.parametrize('white', [3, 4, 15, 100, 127, 255, 256, 1000, 65535])
@pytest.mark.parametrize('plain', [False, True])
def test_grey_of_any_white_keeps_its_numbers(tmp_path, white, plain):
    """Pillow makes the white of a PGM 255 or 65535: 1 of 3 is 85."""
    ids = np.unique(np.linspace(0, min(white, 255), 60).astype(int)).reshape(1, -1)
    ids = ids[:, ids.size % 2 :].reshape(2, -1)
    header = f'P{2 if plain else 5}\n# 9 of 9\n{ids.shape[1]} {ids.shape[0]} # wide, high\n{white}\n'
    depth = '>u2' if white > 255 else 'u1'
    pixels = ' '.join(map(str, ids.ravel())).encode() if plain else ids.astype(depth).tobytes()
    (tmp_path / 'a.pgm').write_bytes(header.encode() + pixels)
    assert np.array_equal(read_mask(tmp_path / 'a.pgm'), ids)


@pytest.mark.parametrize('bits', [1, 8])
def test_files_in_which_white_is_zero_are_refused(tmp_path, bits):
    ids = Image.fromarray(np.eye(8, dtype=np.uint8) * 255)
    ids.convert('1').save(tmp_path / 'a.pbm')
    ids.convert('1' if bits == 1 else 'L').save(tmp_path / 'a.tif', tiffinfo={262: 0})
    for name in ('a.pbm', 'a.tif'):
        with pytest.raises(InputError, match=rf'{name} cannot be used: white is 0 in it .* Save it as a PNG'):
            read_mask(tmp_path / name)


def test_an_indexed_file_without_a_palette_is_ids(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4) // 4
    write_mask(tmp_path / 'mask.png', ids)
    data = (tmp_path / 'mask.png').read_bytes()
    start = data.index(b'PLTE') - 4
    (tmp_path / 'mask.png').write_bytes(
        data[:start] + data[start + 12 + int.from_bytes(data[start : start + 4], 'big') :]
    )
    assert np.array_equal(read_mask(tmp_path / 'mask.png'), ids)


@pytest.mark.parametrize(
    ('mode', 'array'),
    [
        ('RGB', np.zeros((4, 4, 3), np.uint8)),
        ('RGBA', np.zeros((4, 4, 4), np.uint8)),
    ],
)
def test_colours_are_refused(tmp_path, mode, array):
    path = tmp_path / 'mask.png'
    Image.fromarray(array).save(path)
    with pytest.raises(ValueError, match=rf'mask\.png is an image of mode {mode}: .*write_mask'):
        read_mask(path)


@pytest.mark.parametrize('part', [0, 20, 0.6])
def test_cut_off_mask(tmp_path, part):
    path = tmp_path / 'mask.png'
    write_mask(path, np.random.default_rng(0).integers(0, 9, (64, 64)))
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data)) if part == 0.6 else part])
    with pytest.raises(ValueError, match=r'mask\.png cannot be used: it is (empty|cut off|damaged)'):
        read_mask(path)


def test_missing_mask(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'Mask not found: .*none\.png'):
        read_mask(tmp_path / 'none.png')


@pytest.mark.parametrize(
    'mask', [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), np.full((2, 2), 256), -np.eye(2, dtype=int)]
)
def test_write_refuses_what_is_no_mask(tmp_path, mask):
    with pytest.raises(ValueError, match=r'a\.png'):
        write_mask(tmp_path / 'a.png', mask)
    assert not (tmp_path / 'a.png').exists()


def test_write_refuses_lossy_files(tmp_path):
    with pytest.raises(ValueError, match='PNG'):
        write_mask(tmp_path / 'a.jpg', np.zeros((2, 2), np.uint8))


def test_object_ids_of_both_davis_years(tmp_path):
    write_mask(tmp_path / 'a.png', np.array([[0, 1, 2, 255]]))
    assert read_object_ids(tmp_path / 'a.png').tolist() == [[0, 1, 2, 0]]
    assert read_object_ids(tmp_path / 'a.png', single_object=True).tolist() == [[0, 1, 1, 1]]


def test_resize_takes_pixel_centres():
    # Centres of the 2 columns fall on the borders 1.25 and 3.75 of 5: pixels 1 and 3. OpenCV's nearest takes 0 and 2.
    assert resize_mask(np.array([[0, 1, 2, 3, 4]], np.uint8), (1, 2)).tolist() == [[1, 3]]
    assert resize_mask(np.array([[7, 8]], np.uint8), (2, 4)).tolist() == [[7, 7, 8, 8]] * 2


@pytest.mark.parametrize(
    ('name', 'place', 'size', 'message'),
    [
        ('a.png', 16, (30000).to_bytes(4, 'big') * 2, 'checksum of its chunk IHDR'),
        ('a.png', 33, b'\xff\0\0\0', r'chunk IDAT at byte 33 promises 4278190080 bytes'),
        ('a.gif', 6, b'\x60\xea\x60\xea', '60000 x 60000 pixels, more than the limit'),
        ('a.bmp', 18, (30000).to_bytes(4, 'little') * 2, '30000 x 30000 pixels, more than the limit'),
    ],
)
def test_a_header_that_asks_for_too_much(tmp_path, name, place, size, message):
    path = tmp_path / name
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[place : place + len(size)] = size
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf'Mask .*{name} cannot be used: .*{message}'):
        read_mask(path)


def test_a_mask_is_not_written_through_a_link(tmp_path):
    write_mask(tmp_path / 'truth.png', np.ones((3, 4), np.uint8))
    before = (tmp_path / 'truth.png').read_bytes()
    (tmp_path / 'soft.png').symlink_to('truth.png')
    os.link(tmp_path / 'truth.png', tmp_path / 'hard.png')
    for name in ('soft.png', 'hard.png'):
        write_mask(tmp_path / name, np.zeros((3, 4), np.uint8))
        assert not read_mask(tmp_path / name).any()
    assert (tmp_path / 'truth.png').read_bytes() == before


@pytest.mark.parametrize('sides', [(2**32, 2**32), (2**15, 2**15), (2**20, 2**20), (8, 11)])
def test_arrays_that_promise_more_than_there_is_are_refused(tmp_path, sides):
    """More than 64 bits can count, 2 GiB, 2 TiB and some bytes; none of it takes memory."""
    path = tmp_path / 'mask.npy'
    np.save(path, np.ones((8, 10), np.uint16))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'(8, 10), }' + b' ' * 50, f'{sides}, }}'.encode().ljust(60)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r'mask\.npy cannot be used: it is cut off or damaged'):
        read_mask(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB
    path.write_bytes(data + b'more')
    assert (read_mask(path) == 1).all()


@pytest.mark.parametrize('version', [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize('order', 'CF')
def test_arrays_of_each_version_of_the_format(tmp_path, version, order):
    mask = np.asarray(np.arange(6, dtype=np.uint8).reshape(2, 3), order=order)
    with open(tmp_path / 'mask.npy', 'wb') as file:
        np.lib.format.write_array(file, mask, version)
    np.testing.assert_array_equal(read_mask(tmp_path / 'mask.npy'), mask)


@pytest.mark.parametrize(
    ('mask', 'fine'),
    [
        (np.full((2, 3), 255), True),
        (np.full((2, 3), 256), False),
        (np.full((2, 3), -1), False),
        (np.ones((2, 3), bool), True),
        (np.ones((2, 3)), False),
        (np.ones((0, 3), int), False),
        (np.ones(3, int), False),
    ],
)
def test_ids_are_integers_up_to_255(mask, fine):
    if fine:
        np.testing.assert_array_equal(as_ids(mask, 'It'), mask)
    else:
        with pytest.raises(InputError, match='^It '):
            as_ids(mask, 'It')


def test_a_long_picture_in_json_does_not_hide_what_it_is(tmp_path):
    (tmp_path / 'a.json').write_text(' {"imageData": "' + 'A' * 5000 + '", "shapes": []}')
    with pytest.raises(InputError, match='is polygons of LabelMe'):
        read_mask(tmp_path / 'a.json')


def test_a_palette_of_fewer_colours_and_a_suffix_in_capitals(tmp_path):
    write_mask(tmp_path / 'a.PNG', np.array([[0, 1], [2, 1]]))
    assert read_mask(tmp_path / 'a.PNG').tolist() == [[0, 1], [2, 1]]
    write_mask(tmp_path / 'none.png', np.array([[255, 0]]))
    assert read_mask(tmp_path / 'none.png').tolist() == [[255, 0]]


def test_colours_of_ids_cannot_be_written_to():
    assert not display_colors().flags.writeable


def test_a_picture_that_ends_early_is_refused(tmp_path):
    """Its stream is whole in itself, so that no checksum is wrong."""
    path = tmp_path / 'a.png'
    Image.fromarray(np.full((8, 8), 3, np.uint8)).save(path)
    data = path.read_bytes()
    start = data.index(b'IDAT')
    parts = [b'IDAT' + zlib.compress((b'\0' + bytes([3] * 8)) * 4), b'IEND']
    chunks = [struct.pack('>I', len(part) - 4) + part + struct.pack('>I', zlib.crc32(part)) for part in parts]
    path.write_bytes(data[: start - 4] + b''.join(chunks))
    with pytest.raises(InputError, match=r'a\.png cannot be used: it is damaged, or its picture ends early'):
        read_mask(path)
