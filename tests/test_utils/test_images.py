import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_data import texture, write_image

from stt_mm.utils import FrameError, list_images, natural_key, read_image


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
    with pytest.raises(FrameError, match=rf'frame\.{suffix} is cut off or no image'):
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
    with pytest.raises(FrameError, match='cut off'):
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
