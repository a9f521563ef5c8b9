import io
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_data import texture, write_image

from stt_mm.utils import FrameError, list_images, natural_key, read_image
from stt_mm.utils.image_check import ImageFault, check_png, open_image
from stt_mm.utils.jpeg_check import check_jpeg


def test_red_is_first(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 255
    write_image(tmp_path / 'a.png', image)
    assert np.array_equal(read_image(tmp_path / 'a.png'), image)


def test_grey_becomes_three_channels(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((4, 5), 9, np.uint8))
    assert np.array_equal(read_image(tmp_path / 'a.png'), np.full((4, 5, 3), 9))


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
    names = ['b', '1', 'a10', 'a9b', 'a9', '01', '²', 'a']
    assert sorted(names, key=natural_key) == ['01', '1', 'a', 'a9', 'a9b', 'a10', 'b', '²']


def picture(height=120, width=200):
    return Image.fromarray(texture((height, width), 0))


def encoded(image, kind='JPEG', **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def scan_start(data):
    return data.index(b'\xff\xda') + 14


FORMS = [
    dict(), dict(quality=100, subsampling=0), dict(quality=20), dict(optimize=True), dict(progressive=True),
    dict(restart_marker_blocks=3), dict(restart_marker_rows=1, progressive=True),
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
    assert bytes(64) in flat_tables[scan_start(flat_tables):]
    check_jpeg(flat_tables)
    start = scan_start(plain) + 300
    with pytest.raises(ImageFault, match='300 bytes after the start of the picture there are zeros'):
        check_jpeg(plain[:start] + bytes(128) + plain[start + 128:])


@pytest.mark.parametrize('form', FORMS[:2], ids=str)
def test_a_jpeg_whose_picture_is_full_before_its_data_end(form):
    """Bytes that came in between shift what follows; only that some are left over tells."""
    data = encoded(picture(), **form)
    place, random, refused = scan_start(data) + 400, np.random.default_rng(0), []
    for _ in range(20):
        changed = data[:place] + bytes(random.integers(0, 255, 40).astype(np.uint8)) + data[place:]
        try:
            check_jpeg(changed)
        except ImageFault as fault:
            refused.append(str(fault))
    assert len(refused) == 20
    assert any('the picture is full before its data end' in fault for fault in refused)
    check_jpeg(data[:-2] + bytes(40) + data[-2:])  # Zeros only fill.


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


@pytest.mark.parametrize(('data', 'message'), [
    (png(length=4278190996), r'chunk IDAT at byte 33 promises 4278190996 bytes, \d+ are left'),
    (png(30000, 30000), r'30000 x 30000 pixels, more than the limit of 100000000\. .*set STT_MM_MAX_PIXELS'),
    (png()[:-12], 'cut off, its end is missing'),
    (png().replace(b'IDATx', b'IDATy'), 'the checksum of its chunk IDAT at byte 33 is wrong'),
    (b'BM' + struct.pack('<IIIIiiHHIIIIII', 60, 0, 54, 40, 30000, -30000, 1, 24, 0, 0, 0, 0, 0, 0), '30000 x 30000'),
    (b'GIF89a' + struct.pack('<HHBBB', 60000, 60000, 0, 0, 0) + b',' + bytes(9) + b';', '60000 x 60000'),
    (encoded(picture()).replace(struct.pack('>HH', 120, 200), b'\xf0\0\xf0\0'), '61440 x 61440'),
])
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
        path.write_bytes(changed[:len(data) if random.random() < 0.7 else random.integers(len(data))])
        try:
            image = read_image(path)
        except FrameError as error:
            message = str(error)
        else:
            message = f'{path} is {image.dtype} [..., {image.shape[2]}]'
        assert message.startswith((f'{path} is uint8 [..., 3]', f'Frame {path} '))
