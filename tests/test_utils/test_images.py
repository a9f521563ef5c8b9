import io
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image
from tiny_data import texture, write_image

from stt_mm.utils import FrameError, images, list_images, natural_key, read_image
from stt_mm.utils.images import ImageFault, _moves, _zero_codes, check_jpeg, check_png, open_image, walk_folders


def test_red_is_first(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 255
    write_image(tmp_path / 'a.png', image)
    assert np.array_equal(read_image(tmp_path / 'a.png'), image)


def test_grey_becomes_three_channels(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((4, 5), 9, np.uint8))
    assert np.array_equal(read_image(tmp_path / 'a.png'), np.full((4, 5, 3), 9))


@pytest.mark.parametrize(
    ('kind', 'channels', 'read'),
    [
        *((kind, channels, True) for kind in (np.uint8, np.uint16) for channels in (1, 3)),
        *((kind, channels, False) for kind in (np.float32, np.float64, np.int32) for channels in (1, 3)),
        (np.int16, 1, False),
    ],
)
def test_a_tiff_of_numbers_without_a_brightness_is_called_whole(tmp_path, kind, channels, read):
    path = tmp_path / 'a.tif'
    assert cv2.imwrite(str(path), np.full((20, 30, channels), 100).astype(kind))
    if read:
        assert read_image(path).shape == (20, 30, 3)
        return
    with pytest.raises(FrameError, match=r'a\.tif .*: its numbers are floating point, signed, or of more.*Scale them'):
        read_image(path)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp', 'webp'])
@pytest.mark.parametrize('part', [0.0, 0.02, 0.5, 0.9])
def test_cut_off_image_is_an_error(tmp_path, suffix, part):
    path = tmp_path / f'frame.{suffix}'
    write_image(path, texture((200, 240), 0))
    assert read_image(path).shape == (200, 240, 3)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(FrameError, match=rf'frame\.{suffix} .*(empty|cut off|damaged|truncated|image)'):
        read_image(path)


def test_jpeg_cut_off_behind_its_thumbnail(tmp_path):
    """The thumbnail in the header has an end mark of its own."""
    path, thumbnail = tmp_path / 'frame.jpg', tmp_path / 'thumbnail.jpg'
    write_image(thumbnail, texture((16, 16), 1))
    write_image(path, texture((200, 240), 0))
    data, segment = path.read_bytes(), thumbnail.read_bytes()
    whole = data[:2] + b'\xff\xe1' + (len(segment) + 2).to_bytes(2, 'big') + segment + data[2:]
    path.write_bytes(whole)
    assert read_image(path).shape == (200, 240, 3)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(FrameError, match='it is cut off'):
        read_image(path)


def test_bytes_behind_the_end_do_no_harm(tmp_path):
    write_image(tmp_path / 'a.jpg', texture((32, 32), 0))
    expected = read_image(tmp_path / 'a.jpg')
    with open(tmp_path / 'a.jpg', 'ab') as file:
        file.write(b'\0' * 100)
    assert np.array_equal(read_image(tmp_path / 'a.jpg'), expected)


def test_text_that_calls_itself_jpeg(tmp_path):
    (tmp_path / 'a.jpg').write_text('<html>404</html>')
    with pytest.raises(FrameError, match=r'a\.jpg'):
        read_image(tmp_path / 'a.jpg')


def test_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'Frame not found: .*a\.jpg'):
        read_image(tmp_path / 'a.jpg')


def test_natural_order_and_what_counts_as_image(tmp_path):
    for name in ('f10.jpg', 'f2.JPG', 'f1.png', 'notes.txt', '.f3.jpg'):
        Image.new('RGB', (2, 2)).save(tmp_path / name, format='PNG')
    (tmp_path / 'f4').mkdir()
    assert [path.rsplit('/', 1)[1] for path in list_images(tmp_path)] == ['f1.png', 'f2.JPG', 'f10.jpg']


def test_natural_key_compares_any_names():
    names = ['b', '1', 'a10', 'a9b', 'a9', '01', '²', 'a', 'a9c10', 'a9c9', '٣']
    assert sorted(names, key=natural_key) == ['01', '1', 'a', 'a9', 'a9b', 'a9c9', 'a9c10', 'a10', 'b', '²', '٣']


def picture(height=120, width=200):
    return Image.fromarray(texture((height, width), 0))


def encoded(image, kind='JPEG', **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def scan_start(data):
    return data.index(b'\xff\xda') + 14


FORMS = [
    dict(),
    dict(quality=100, subsampling=0),
    dict(quality=20),
    dict(optimize=True),
    dict(progressive=True),
    dict(restart_marker_blocks=3),
    dict(restart_marker_rows=1, progressive=True),
]


@pytest.mark.parametrize('form', FORMS, ids=str)
@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_whole_jpegs_of_all_forms_pass(form, mode):
    for image in (picture(), picture(1, 1), picture(17, 300), Image.new('RGB', (640, 480)), Image.new('L', (99, 99))):
        check_jpeg(encoded(image.convert(mode), **form))


def test_whole_jpegs_with_what_cameras_and_programs_add():
    data = encoded(picture(), comment=b'\xff\xd9 text', exif=b'Exif\0\0II*\0\x08\0\0\0\0\0')
    check_jpeg(data)
    check_jpeg(data[:2] + b'\xff\xef\0\x02' + b'\xff\xff\xff' + data[2:])  # An empty segment and bytes that fill.
    for marker in (*range(0xE0, 0xF0), 0xFE):
        check_jpeg(data[:2] + bytes((0xFF, marker, 0, 2)) + data[2:])
    check_jpeg(data[:2] + b'\xff\xc4\0\x13\x03' + bytes(16) + data[2:])  # A table of no codes.
    check_jpeg(data + b'\xff\xd8 another picture')
    check_jpeg(encoded(picture().convert('CMYK'), subsampling=1))  # The decoder that checks knows no such form.


@pytest.mark.parametrize('form', [FORMS[0], FORMS[1], FORMS[4], FORMS[5]], ids=str)
@pytest.mark.parametrize('filling', ['zeros', 'noise', 'nothing'])
def test_a_jpeg_with_a_hole_names_the_file(tmp_path, form, filling):
    path, data = tmp_path / 'frame.jpg', encoded(picture(), **form)
    start, end = scan_start(data) + 200, scan_start(data) + 200 + (len(data) - scan_start(data)) // 2
    noise = np.random.default_rng(0).bytes(end - start)
    path.write_bytes(data[:start] + {'zeros': bytes(end - start), 'noise': noise, 'nothing': b''}[filling] + data[end:])
    with pytest.raises(FrameError, match=r'frame\.jpg .* cannot be used: it is .*damaged'):
        read_image(path)


@pytest.mark.parametrize('form', FORMS, ids=str)
def test_a_jpeg_that_lacks_its_last_byte(form):
    """The last block is incomplete, behind which no decoder looks by itself."""
    data = encoded(picture(), **form)
    check_jpeg(data)
    with pytest.raises(ImageFault, match='breaks off or holds a wrong code'):
        check_jpeg(data[:-3] + data[-2:])


def test_a_hole_in_a_flat_jpeg_is_told_from_flatness():
    """In the tables of the second picture zeros mean "as before", so that it consists of them."""
    flat = Image.new('RGB', (640, 480))
    plain, flat_tables = encoded(flat), encoded(flat, optimize=True)
    assert bytes(64) in flat_tables[scan_start(flat_tables) :]
    check_jpeg(flat_tables)
    start = scan_start(plain) + 300
    with pytest.raises(ImageFault, match='300 bytes after the start of the picture there are zeros'):
        check_jpeg(plain[:start] + bytes(128) + plain[start + 128 :])


@pytest.mark.parametrize('form', FORMS, ids=str)
def test_a_jpeg_whose_picture_is_full_before_its_data_end(form):
    """That some are left over tells of holes which no code does, as in progressive pictures and between restarts."""
    data = encoded(picture(), **form)
    for extra in (b'\x55\xaa' * 10, bytes(20)):
        with pytest.raises(ImageFault, match='it is damaged: [0-9]+ extraneous bytes before marker 0xd9'):
            check_jpeg(data[:-2] + extra + data[-2:])


@pytest.mark.parametrize('form', FORMS[:2], ids=str)
def test_bytes_that_came_in_between(form):
    """They shift what follows; FFmpeg notices most of it, libjpeg that data are left over."""
    data = encoded(picture(), **form)
    place, random = scan_start(data) + 400, np.random.default_rng(0)
    for _ in range(20):
        with pytest.raises(ImageFault, match='it is damaged'):
            check_jpeg(data[:place] + bytes(random.integers(0, 255, 40).astype(np.uint8)) + data[place:])


@pytest.mark.parametrize('form', FORMS, ids=str)
def test_zeros_in_the_midst_of_a_jpeg(form):
    data = encoded(picture(240, 160), **form)
    for start in (0.1, 0.3, 0.5, 0.7):
        place, size = scan_start(data) + int(start * (len(data) - scan_start(data))), len(data) // 5
        with pytest.raises(ImageFault, match='it is damaged: .*'):
            check_jpeg(data[:place] + bytes(size) + data[place + size :])


def test_a_jpeg_of_a_form_that_the_checker_does_not_know_is_left_to_the_reader(monkeypatch):
    monkeypatch.setattr(simplejpeg, 'decode_jpeg', None)
    data = encoded(picture())
    with pytest.raises(TypeError):
        check_jpeg(data)
    check_jpeg(data.replace(b'\xff\xc0', b'\xff\xc7'))


@pytest.mark.parametrize('marker', [0xC4, 0xC8, 0xCC])
def test_tables_and_extensions_are_no_picture(marker):
    with pytest.raises(ImageFault, match='it holds no picture'):
        check_jpeg(encoded(picture()).replace(b'\xff\xc0', bytes((0xFF, marker))))


def test_the_pixels_are_those_of_opencv(tmp_path):
    for form in FORMS:
        (tmp_path / 'a.jpg').write_bytes(encoded(picture(), **form))
        assert np.array_equal(read_image(tmp_path / 'a.jpg'), cv2.imread(str(tmp_path / 'a.jpg'))[..., ::-1])


def chunk(kind, content, length=None):
    checksum = zlib.crc32(kind + content).to_bytes(4, 'big')
    return struct.pack('>I', len(content) if length is None else length) + kind + content + checksum


def png(width=8, height=8, length=None):
    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((min(width, 8) + 1) * min(height, 8)))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows, length) + chunk(b'IEND', b'')


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (png(length=4278190996), r'chunk IDAT at byte 33 promises 4278190996 bytes, \d+ are left'),
        (png(30000, 30000), r'30000 x 30000 pixels, more than the limit of 100000000\. .*set STT_MM_MAX_PIXELS'),
        (png()[:-12], 'cut off, its end is missing'),
        (png().replace(b'IDATx', b'IDATy'), 'the checksum of its chunk IDAT at byte 33 is wrong'),
        (
            b'BM' + struct.pack('<IIIIiiHHIIIIII', 60, 0, 54, 40, 30000, -30000, 1, 24, 0, 0, 0, 0, 0, 0),
            '30000 x 30000',
        ),
        (b'GIF89a' + struct.pack('<HHBBB', 60000, 60000, 0, 0, 0) + b',' + bytes(9) + b';', '60000 x 60000'),
        (encoded(picture()).replace(struct.pack('>HH', 120, 200), b'\xf0\0\xf0\0'), '61440 x 61440'),
    ],
)
def test_headers_that_ask_for_too_much_are_refused_at_once(tmp_path, data, message):
    (tmp_path / 'frame.png').write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(FrameError, match=r'frame\.png .*' + message):
        read_image(tmp_path / 'frame.png')
    assert time.perf_counter() - start < 1


def test_the_limit_can_be_raised_and_lowered(monkeypatch):
    check_png(png(10000, 10000))
    monkeypatch.setenv('STT_MM_MAX_PIXELS', '63')
    with pytest.raises(ImageFault, match='8 x 8 pixels, more than the limit of 63'):
        check_png(png())
    monkeypatch.setenv('STT_MM_MAX_PIXELS', '1000000000')
    check_png(png(30000, 30000))
    assert open_image(png(30000, 30000)).size == (30000, 30000)  # Pillow's own limit would be 178,956,970.
    monkeypatch.setenv('STT_MM_MAX_PIXELS', '1e9')
    with pytest.raises(ValueError, match="STT_MM_MAX_PIXELS .* must be a whole number, got '1e9'"):
        check_png(png())


def test_bytes_behind_the_end_of_a_png_do_no_harm(tmp_path):
    (tmp_path / 'a.png').write_bytes(encoded(picture(), 'PNG') + b'more')
    assert np.array_equal(read_image(tmp_path / 'a.png'), np.array(picture()))


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'BMP', 'WEBP'])
def test_changed_bytes_end_in_a_picture_or_a_named_error(tmp_path, kind):
    data, path = encoded(picture(32, 48), kind), tmp_path / 'frame.img'
    random = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(data)
        reach = min(len(data), int(random.choice([40, 200, len(data)])))
        for place in random.integers(0, reach, random.integers(1, 6)):
            changed[place] = random.integers(256)
        path.write_bytes(changed[: len(data) if random.random() < 0.7 else random.integers(len(data))])
        try:
            image = read_image(path)
        except FrameError as error:
            message = str(error)
        else:
            message = f'{path} is {image.dtype} [..., {image.shape[2]}]'
        assert message.startswith((f'{path} is uint8 [..., 3]', f'Frame {path} '))


def test_each_folder_is_walked_once_whatever_links_lead_there(tmp_path):
    for name in ('b/c/2.jpg', 'b/1.jpg', 'b/.hidden/0.jpg', '0.jpg'):
        (tmp_path / 'root' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'root' / name).touch()
    (tmp_path / 'away' / 'd').mkdir(parents=True)
    (tmp_path / 'away' / '3.jpg').touch()
    (tmp_path / 'root' / 'z').symlink_to(tmp_path / 'away')
    for number in range(3):
        (tmp_path / 'root' / f'a{number}').symlink_to(tmp_path / 'root')
    found = [(str(folder), files) for folder, files in walk_folders(tmp_path / 'root')]
    assert found == [
        (str(tmp_path / 'root' / name), files)
        for name, files in (('', ['0.jpg']), ('b', ['1.jpg']), ('b/c', ['2.jpg']), ('z', ['3.jpg']), ('z/d', []))
    ]


def test_an_image_that_was_found_whole_is_not_checked_again(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(images, '_check', lambda data: checked.append(data))
    write_image(tmp_path / 'a.png', texture((7, 9), 12345))
    for _ in range(3):
        read_image(tmp_path / 'a.png')
    assert len(checked) == 1
    write_image(tmp_path / 'a.png', texture((7, 9), 54321))
    read_image(tmp_path / 'a.png')
    assert len(checked) == 2


def test_an_image_that_passes_the_check_and_cannot_be_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, '_check', lambda data: None)
    for data in (b'\x89PNG\r\n\x1a\n' + bytes(40), b''):
        (tmp_path / 'a.png').write_bytes(data)
        with pytest.raises(FrameError, match=rf'a\.png cannot be decoded \({len(data)} bytes\)'):
            read_image(tmp_path / 'a.png')


START, HEADER = b'\x89PNG\r\n\x1a\n', struct.pack('>IIBBBBB', 8, 8, 8, 0, 0, 0, 0)
ROWS, END = chunk(b'IDAT', zlib.compress(bytes(72))), chunk(b'IEND', b'')


@pytest.mark.parametrize(
    ('chunks', 'place'),
    [
        ((chunk(b'IHDR', HEADER + b'\0'), ROWS, END), 8),
        ((chunk(b'IHDR', HEADER[:-1]), ROWS, END), 8),
        ((ROWS, chunk(b'IHDR', HEADER), END), 8),
        ((chunk(b'IHDR', HEADER), chunk(b'IHDR', HEADER), ROWS, END), 33),
        ((chunk(b'IHDR', HEADER), chunk(b'ID1T', b''), END), 33),
    ],
)
def test_chunks_of_a_png_in_another_order_or_size_are_damage(chunks, place):
    with pytest.raises(ImageFault, match=f'it is damaged: no proper chunk begins at byte {place}$'):
        check_png(START + b''.join(chunks))


def test_checksums_of_chunks_that_matter():
    """A capital at the start of its name says that a chunk is needed, whatever follows."""

    def with_extra(kind):
        extra = bytearray(chunk(kind, b'abc'))
        extra[-1] ^= 1
        return START + chunk(b'IHDR', HEADER) + bytes(extra) + ROWS + END

    check_png(with_extra(b'tEXt'))
    check_png(with_extra(b'tEXT'))
    for kind in (b'CgBI', b'PLTE'):
        with pytest.raises(ImageFault, match=f'the checksum of its chunk {kind.decode()} at byte 33 is wrong'):
            check_png(with_extra(kind))


@pytest.mark.parametrize(('size', 'fine'), [(6, True), (5, False)])
def test_a_frame_header_of_six_bytes_names_a_size(monkeypatch, size, fine):
    scan = b'\xff\xda\0\x02\x12\xff\xd9'
    data = b'\xff\xd8\xff\xc3' + (size + 2).to_bytes(2, 'big') + struct.pack('>BHHB', 8, 3, 5, 0)[:size] + scan
    if not fine:
        with pytest.raises(ImageFault, match='it holds no picture'):
            check_jpeg(data)
        return
    monkeypatch.setenv('STT_MM_MAX_PIXELS', '15')
    check_jpeg(data)
    monkeypatch.setenv('STT_MM_MAX_PIXELS', '14')
    with pytest.raises(ImageFault, match='it promises 5 x 3 pixels'):
        check_jpeg(data)


@pytest.mark.parametrize('marker', [0xC0, 0xC1])
@pytest.mark.parametrize(('zeros', 'fine'), [(64, False), (63, True)])
def test_a_hole_is_64_zeros(monkeypatch, marker, zeros, fine):
    monkeypatch.setattr('stt_mm.utils.images._decodes', lambda data: None)
    monkeypatch.setattr(simplejpeg, 'decode_jpeg', lambda *args, **kwargs: None)
    data = encoded(picture()).replace(b'\xff\xc0', bytes((0xFF, marker)))
    start = scan_start(data) + 100
    data = data[:start] + b'\1' + bytes(zeros) + b'\1' + data[start:]
    if fine:
        check_jpeg(data)
    else:
        with pytest.raises(ImageFault, match='101 bytes after the start of the picture there are zeros'):
            check_jpeg(data)


def test_the_code_of_zeros_is_the_first_of_its_table():
    first = bytes((0x00, 0, 2, 1, *[0] * 13, 7, 8, 9))
    second = bytes((0x11, 1, *[0] * 15, 5))
    assert _zero_codes(first + second) == {0: 7, 0x11: 5}
    assert _zero_codes(second) == {0x11: 5}
    assert _zero_codes(second[:-1]) == _zero_codes(b'') == {}


@pytest.mark.parametrize(
    ('codes', 'moves'),
    [
        ({0: 0, 0x10: 0, 1: 0, 0x11: 0}, False),
        ({0: 3}, True),
        ({0x12: 3}, True),
        ({1: 3}, True),
        ({0x1F: 3}, True),
        ({3: 3}, True),
        ({0x14: 3}, True),
        ({0x13: 3}, False),
        ({}, False),
        ({2: 3, 0x10: 3, 0x11: 3, 0x0F: 3}, False),
    ],
)
def test_zeros_move_a_block_by_the_tables_of_the_scan(codes, moves):
    """Three components, whose tables are 0 and 2, 1 and 15, 3 and 4, of which the latter are for what follows."""
    assert _moves(bytes((3, 1, 0x02, 2, 0x1F, 3, 0x34, 0, 63, 0x11)), codes) is moves


def test_a_jpeg_that_ends_between_or_in_its_segments():
    data = encoded(picture())
    first = 4 + int.from_bytes(data[4:6], 'big')
    assert data[first : first + 1] == b'\xff'
    for end in (2, 3, 4, 5, first - 1, first, first + 1, first + 3, scan_start(data), scan_start(data) + 50):
        with pytest.raises(ImageFault, match='it is cut off or damaged, its end is missing'):
            check_jpeg(data[:end])
