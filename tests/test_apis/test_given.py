import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from PIL import Image

from stt_mm.apis.given import check_fit, collect_given
from stt_mm.utils import read_mask, resize_mask, write_mask

DAVIS = Path(__file__).resolve().parents[2] / 'demo' / 'data' / 'davis'


def square(number=1, size=(8, 10)):
    mask = np.zeros(size, np.uint8)
    mask[2:5, 3:6] = number
    return mask


def test_labels_without_a_frame_are_for_the_first():
    labels = collect_given(square(), [[1, 2], [3.5, 4]])
    assert list(labels) == [0]
    np.testing.assert_array_equal(labels[0].mask, square())
    assert labels[0].points.tolist() == [[1, 2], [3.5, 4]]


def test_frames_rise_and_may_hold_either_kind(tmp_path):
    write_mask(tmp_path / 'second.png', square(2))
    labels = collect_given({10: tmp_path / 'second.png', 0: square()}, {5: np.array([[1, 2]])})
    assert list(labels) == [0, 5, 10]
    assert labels[5].mask is None
    assert [len(entry.points) for entry in labels.values()] == [0, 1, 0]
    np.testing.assert_array_equal(labels[10].mask, square(2))


@pytest.mark.parametrize('dtype', [bool, np.int64, np.uint16])
def test_any_integers_hold_ids(dtype):
    mask = collect_given(square().astype(dtype), None)[0].mask
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, square())


def bordered():
    """An object of 7 x 7 pixels with a border of 255 above, below and to the left."""
    mask = np.zeros((16, 18), np.uint8)
    mask[3:12, 3:11] = 255
    mask[4:11, 4:11] = 1
    return mask


def test_255_is_void_beside_other_ids_and_an_object_alone():
    mask = bordered()
    np.testing.assert_array_equal(collect_given(mask, None)[0].mask, np.where(mask == 255, 0, mask))
    np.testing.assert_array_equal(collect_given(square(255), None)[0].mask, square(255))


def test_given_arrays_are_not_written_to():
    mask = bordered()
    mask.setflags(write=False)
    collect_given(mask, None)
    assert mask[3, 3] == 255


@pytest.mark.parametrize(
    ('masks', 'points', 'message'),
    [
        (None, None, 'nothing to follow'),
        ({}, {}, 'nothing to follow'),
        (None, np.empty((0, 2)), 'nothing to follow'),
        ({-1: square()}, None, 'got -1'),
        ({'0': square()}, None, "got '0'"),
        (np.zeros((4, 5), np.uint8), None, 'for frame 0 is empty.*1 to 255'),
        (square().astype(float), None, r'integers \[H, W\].*got float64 \[8, 10\]'),
        (np.zeros((4, 5, 3), np.uint8), None, r'got uint8 \[4, 5, 3\]'),
        (square().astype(np.int32) * 300, None, 'holds ids 0 to 300. Number the objects 1 to 255'),
        (-square().astype(np.int32), None, 'holds ids -1 to 0'),
        (
            {0: square(3), 7: square(3)},
            None,
            'frame 7 gives object 3, which the mask for frame 0 gave already.*such as 1',
        ),
        (None, [1, 2], r'frame 0 must be \[J, 2\].*\[1.0, 2.0\]'),
        (None, [[1, 2], [3]], r'frame 0 must be \[J, 2\].*\[\[1, 2\], \[3\]\]'),
        (None, [['left', 'top']], r"frame 0 must be \[J, 2\].*'left'"),
        ({'0': square(), 1: square(2)}, None, "got '0'"),
        ({1: square()}, {None: [[1, 2]]}, 'got None'),
        (None, {4: [[1, np.nan]]}, 'frame 4 must be .* finite'),
    ],
)
def test_what_is_refused(masks, points, message):
    with pytest.raises(ValueError, match=message):
        collect_given(masks, points)


@pytest.mark.parametrize(
    ('name', 'array', 'message'),
    [
        ('deep.png', square().astype(np.uint16) * 300, r'deep\.png holds ids 0 to 300\. Number the objects 1 to 255'),
        ('colours.png', np.zeros((8, 10, 3), np.uint8), r'colours\.png is an image of mode RGB'),
        ('a.jpg', square(), r'a\.jpg is a JPEG.*Save the mask as a PNG'),
        ('none.png', np.zeros((8, 10), np.uint8), r'none\.png for frame 3 is empty'),
    ],
)
def test_mask_files_that_hold_no_ids(tmp_path, name, array, message):
    Image.fromarray(array).save(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        collect_given({3: tmp_path / name}, None)


def test_mask_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'Mask not found: .*first\.png'):
        collect_given(str(tmp_path / 'first.png'), None)


def test_mask_of_another_size_than_the_frames(tmp_path):
    write_mask(tmp_path / 'first.png', square())
    labels = collect_given(tmp_path / 'first.png', None)
    check_fit(labels, (8, 10))
    with pytest.raises(ValueError, match=r'first\.png for frame 0 is 8x10 \(height x width\), the frames are 10x8'):
        check_fit(labels, (10, 8))


@cases(st.floats(-20, 40), st.floats(-20, 40))
def test_points_lie_in_the_frame(x, y):
    labels = collect_given(None, {2: [[1, 1], [x, y]]})
    if 0 <= np.float32(x) <= 9 and 0 <= np.float32(y) <= 7:
        check_fit(labels, (8, 10))
    else:
        with pytest.raises(ValueError, match=r'Point .* for frame 2 .* x is 0 to 9 and y is 0 to 7'):
            check_fit(labels, (8, 10))


def discs(*ids, soft=False):
    """Discs of these ids side by side, drawn at eight times the size and reduced, with hard or with soft edges."""
    large = np.zeros((480, 640 * len(ids)), np.uint8)
    for place, number in enumerate(ids):
        cv2.circle(large, (320 + 640 * place, 250), 203, number, cv2.FILLED)
    size = (large.shape[1] // 8, large.shape[0] // 8)
    return cv2.resize(large, size, interpolation=cv2.INTER_AREA if soft else cv2.INTER_NEAREST)


def jpeg(mask, quality):
    return cv2.imdecode(cv2.imencode('.jpg', mask, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize('kind', ['.png', '.tif', '.npy', 'array'])
@pytest.mark.parametrize(
    'mask',
    [
        discs(255, soft=True),
        discs(127, 255, soft=True),
        discs(1, 2, soft=True),
        discs(1, 2, 3, soft=True),
        discs(19, soft=True),
        jpeg(discs(255), 95),
        jpeg(discs(255), 40),
        jpeg(discs(80, 160, 240), 90),
        cv2.GaussianBlur(discs(255), (0, 0), 3),
        cv2.resize(discs(255), (100, 75)),
        cv2.resize(discs(1, 2, 3, 4, 5, 6), None, fx=1.4, fy=1.4),
        cv2.resize(discs(2), None, fx=0.7, fy=0.7),
        cv2.resize(discs(2), None, fx=1.4, fy=1.4),
        jpeg(discs(1), 100),
        jpeg(discs(2), 60),
        jpeg(discs(1, 2), 90),
        jpeg(discs(255), 100),
    ],
    ids=lambda mask: f'{len(np.unique(mask))} values',
)
def test_smoothed_edges_are_refused(tmp_path, kind, mask):
    given = mask
    if kind != 'array':
        given = tmp_path / f'mask{kind}'
        np.save(given, mask) if kind == '.npy' else Image.fromarray(mask).save(given)
    with pytest.raises(ValueError, match='for frame 0 has smoothed edges.*hard edges'):
        collect_given(given, None)


def voronoi(count, size=(120, 160), reach=1e9):
    """``count`` objects that fill the picture, or reach that far from their centres."""
    y, x = np.mgrid[: size[0], : size[1]]
    centres = np.random.default_rng(0).random((count, 2)) * size
    distance = np.stack([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in centres])
    return np.where(distance.min(0) < reach**2, distance.argmin(0) + 1, 0).astype(np.uint8)


def bands(height):
    """A body of 5 parts one above the other, of which the second and the fourth are ``height`` pixels high."""
    mask = np.zeros((120, 80), np.uint8)
    for number, (top, bottom) in enumerate([(10, 40), (40, 40 + height), (42, 70), (70, 70 + height), (72, 110)], 1):
        mask[top:bottom, 20:60] = number
    return mask


@pytest.mark.parametrize(
    'mask',
    [
        discs(255),
        discs(1),
        discs(127, 200),
        discs(64, 128, 191, 254),
        voronoi(254),
        voronoi(100),
        voronoi(254, reach=3),
        voronoi(20, (40, 60)),
        bands(1),
        bands(2),
        np.eye(40, dtype=np.uint8) * 7,
        np.kron(square() + 2 * (square().T[:8, :8].repeat(2, 1)[:, :10] > 0), np.ones((8, 8))).astype(np.uint8),
        np.kron(discs(2)[::8, ::8], np.ones((8, 8), np.uint8)),
        np.kron(voronoi(5, (9, 12)), np.ones((16, 16), np.uint8)),
        np.kron(voronoi(9, (15, 20), 4), np.ones((4, 4), np.uint8)),
        np.where(cv2.erode(discs(1), np.ones((3, 3))) == discs(1), discs(1), 2),  # A skin around an object.
        np.where(np.add.outer(range(8), range(10)) == 5, 2, square()),  # A thin object beside another.
    ],
    ids=lambda mask: f'{len(np.unique(mask))} values',
)
def test_masks_with_hard_edges_are_taken_as_they_are(tmp_path, caplog, mask):
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    np.testing.assert_array_equal(collect_given(tmp_path / 'mask.png', None)[0].mask, mask)
    assert not caplog.records


@pytest.mark.parametrize('scale', [0.5, 0.25, 0.1])
@pytest.mark.parametrize('video', ['bus', 'container', 'garden', 'ice', 'soccer', 'stefan'])
def test_masks_that_were_shrunk_without_smoothing_are_taken(video, scale):
    mask = read_mask(DAVIS / 'Annotations' / '480p' / video / '00000.png')
    mask = resize_mask(mask, (round(scale * mask.shape[0]), round(scale * mask.shape[1])))
    np.testing.assert_array_equal(collect_given(mask, None)[0].mask, mask)


def test_the_palette_of_davis_says_that_ids_are_meant(tmp_path):
    write_mask(tmp_path / 'mask.png', discs(19, soft=True))
    assert len(np.unique(collect_given(tmp_path / 'mask.png', None)[0].mask)) > 9


@pytest.mark.parametrize('dtype', ['<u1', '<i2', '>u2', '<i4', '>i8', '?'])
def test_arrays_of_integers_of_any_depth(tmp_path, dtype):
    np.save(tmp_path / 'mask.npy', np.asfortranarray(square().astype(dtype)))
    np.testing.assert_array_equal(collect_given(tmp_path / 'mask.npy', None)[0].mask, square())


@pytest.mark.parametrize(('name', 'dtype'), [('a.png', np.uint16), ('a.tif', np.uint16), ('a.tif', np.int32)])
def test_label_images_of_16_and_32_bits(tmp_path, name, dtype):
    Image.fromarray((square(3) + 2).astype(dtype)).save(tmp_path / name)
    np.testing.assert_array_equal(collect_given(tmp_path / name, None)[0].mask, square(3) + 2)


def indexed(path, ids, colors):
    image = Image.fromarray(ids).convert('P')
    image.putpalette(np.asarray(colors, np.uint8).tobytes())
    image.save(path)
    return path


def test_a_palette_that_calls_another_id_the_background(tmp_path):
    with pytest.raises(ValueError, match=r'a\.png for frame 0 is indexed.* id 0, the background, the colour .*'):
        collect_given(indexed(tmp_path / 'a.png', square(), [[255, 0, 0], [0, 0, 0]]), None)
    with pytest.raises(ValueError, match='colour .255, 0, 0. and another id white'):
        collect_given(indexed(tmp_path / 'b.png', square(), [[255, 0, 0], [255, 255, 255]]), None)
    with pytest.raises(ValueError, match='and another id black'):
        collect_given(indexed(tmp_path / 'c.png', square(), [[255, 255, 255], [0, 0, 0]]), None)
    for colors in (
        [[0, 0, 0], [255, 255, 255]],
        [[255, 255, 255], [0, 0, 200]],
        [[0, 0, 0], [236, 95, 103]],
        [[1, 1, 1], [255, 255, 255]],
        [[254, 255, 253], [9, 9, 9]],
    ):
        path = indexed(tmp_path / 'd.png', square(), colors)
        np.testing.assert_array_equal(collect_given(path, None)[0].mask, square())


def test_colours_that_fade_into_each_other(tmp_path):
    """The ids of the colours in between are in no order, so that only the palette shows the soft edge."""
    soft = discs(255, soft=True)
    values, ids = np.unique(soft, return_inverse=True)
    order = np.r_[0, 1 + np.random.default_rng(0).permutation(len(values) - 1)]
    colors = np.zeros((len(values), 3), np.uint8)
    colors[order, 0] = values
    path = indexed(tmp_path / 'a.png', order[ids].reshape(soft.shape).astype(np.uint8), colors)
    with pytest.raises(ValueError, match='smoothed edges'):
        collect_given(path, None)


def test_void_is_said_with_its_size_and_refused_where_it_may_be_an_object(caplog):
    mask = discs(1, 2)
    rim = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > mask
    mask[rim] = 255
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(collect_given(mask, None)[0].mask, np.where(rim, 0, mask))
    assert [record.getMessage() for record in caplog.records] == [
        f'The mask for frame 0: 255 beside other ids is void: {rim.sum()} pixels become background.'
    ]
    apart = discs(1, 2, 0)
    apart[20:22, 190:230] = 255
    small, beside = np.zeros((60, 80), np.uint8), discs(1, 0)
    small[10:14, 10:14], small[11:13, 11:13] = 255, 1
    beside[5:10, 120:125], beside[7, 121:124] = 255, 2
    stick, patch = discs(1, 0), discs(1, 0)
    stick[30:33, 64:110], patch[25:29, 30:50] = 255, 255
    for swallowed in (discs(127, 255), discs(1, 255, 2), apart, small, beside, stick, patch):
        count = (swallowed == 255).sum()
        with pytest.raises(ValueError, match=rf'255 beside other ids is void, but its {count} pixels .* 1 to 254'):
            collect_given(swallowed, None)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'cannot be used: it is empty'),
        (b'{"version": "5.0", "shapes": []}', 'is polygons of LabelMe'),
        (b'{"images": [], "annotations": []}', 'is annotations of COCO'),
        (b'[[1, 2], [3, 4]]', 'is JSON'),
        (b'\xef\xbb\xbf{"version": "5.0", "shapes": []}', 'is polygons of LabelMe'),
        ('\ufeff{"version": "5.0", "shapes": []}'.encode('utf-16-le'), 'is polygons of LabelMe'),
        (b'0 0.5 0.25 0.1 0.2\n1 0.5 0.25 0.1 0.2\n', 'is boxes or polygons of YOLO'),
        (b'\0\0\0\x0cjP  \r\n\x87\n', 'is a JPEG or another photo'),
        (b'\xff\x4f\xff\x51\0\x2f', 'is a JPEG or another photo'),
        (b'MATLAB 5.0 MAT-file', 'is a MATLAB'),
        (b'PK\x03\x04', 'is a zip file'),
        (b'\0\0\0\x20ftypisom', 'is a video'),
        (b'\0\0\0\x20ftypavif', 'is a JPEG or another photo'),
        (b'8BPS\0\x01', 'is a drawing or annotation'),
        (b'<html>404</html>', 'is a web page'),
        (b'\xff\xd8\xff\xe0', 'is a JPEG or another photo'),
        (b'some text', "cannot be used: it is no image of a known kind, it begins with b'some tex'"),
        (b'\x93NUMPY\x01\x00\x05\x00abcd\n', 'cannot be used: it is cut off or damaged'),
    ],
)
def test_files_that_are_no_masks_are_called_what_they_are(tmp_path, content, message):
    (tmp_path / 'mask.png').write_bytes(content)
    with pytest.raises(ValueError, match=r'^Mask .*mask\.png ' + message):
        collect_given(tmp_path / 'mask.png', None)


def test_arrays_and_pages_that_are_no_masks(tmp_path):
    for array, message in (
        (square().astype(float), 'must hold integers .* got float64'),
        (np.array([[{}]]), 'it is cut off or damaged .Object arrays cannot be loaded'),
        (square()[None], r'must hold integers .* got uint8 \[1, 8, 10\]'),
    ):
        np.save(tmp_path / 'mask.npy', array)
        with pytest.raises(ValueError, match=rf'mask\.npy .*{message}'):
            collect_given(tmp_path / 'mask.npy', None)
    np.save(tmp_path / 'mask.npy', square())
    (tmp_path / 'mask.npy').write_bytes((tmp_path / 'mask.npy').read_bytes().replace(b'(8, 10)', b'(9, 10)'))
    with pytest.raises(ValueError, match=r'mask\.npy cannot be used: it is cut off'):
        collect_given(tmp_path / 'mask.npy', None)
    page = Image.fromarray(square())
    page.save(tmp_path / 'mask.tif', save_all=True, append_images=[page])
    with pytest.raises(ValueError, match=r'mask\.tif cannot be used: it holds 2 pages'):
        collect_given(tmp_path / 'mask.tif', None)
    Image.fromarray(square().astype(np.float32)).save(tmp_path / 'mask.tif')
    with pytest.raises(ValueError, match='mode F: floating point'):
        collect_given(tmp_path / 'mask.tif', None)


@pytest.mark.filterwarnings('ignore::UserWarning')  # Of Pillow, at broken tags of a TIFF.
@pytest.mark.parametrize('name', ['a.png', 'a.tif', 'a.gif', 'a.bmp', 'a.npy'])
def test_changed_bytes_end_in_a_mask_or_a_named_error(tmp_path, name):
    path, random = tmp_path / name, np.random.default_rng(0)
    np.save(path, discs(1, 2)) if name == 'a.npy' else Image.fromarray(discs(1, 2)).save(path)
    data = path.read_bytes()
    for _ in range(60):
        changed = bytearray(data)
        reach = min(len(data), int(random.choice([40, 200, len(data)])))
        for place in random.integers(0, reach, random.integers(1, 6)):
            changed[place] = random.integers(256)
        path.write_bytes(changed[: len(data) if random.random() < 0.7 else random.integers(len(data))])
        try:
            message = f'{path} {collect_given(path, None)[0].mask.dtype}'
        except ValueError as error:
            message = str(error)
        assert message.startswith((f'Mask {path} ', f'{path} '))


def test_the_first_point_outside_is_named():
    given = collect_given(None, {2: [[1, 1], [9.5, 3], [4, 8]]})
    with pytest.raises(ValueError, match=r'^Point 9\.5,3 for frame 2 lies outside'):
        check_fit(given, (8, 10))
    with pytest.raises(ValueError, match='Point 4,8 for'):
        check_fit(collect_given(None, [[1, 1], [4, 8]]), (8, 10))


@pytest.mark.parametrize('frame', [np.int64(3), 3, 0])
def test_frames_are_numbers_of_python_or_numpy(frame):
    ((number, labels),) = collect_given({frame: square()}, None).items()
    assert (number, type(number)) == (frame, int)
    assert labels.points.shape == (0, 2)
    assert labels.source == 'The mask'


@pytest.mark.parametrize('points', [[1.0], [[1, 2, 3]], [[[1, 2]]], [[1, np.inf]], [[1, 2], [np.nan, 1]]])
def test_points_are_pairs_of_finite_numbers(points):
    with pytest.raises(ValueError, match=r'Points for frame 0 must be \[J, 2\] finite numbers'):
        collect_given(None, points)


def test_a_free_id_is_proposed():
    with pytest.raises(ValueError, match=r'frame 4 gives object 1, which the mask for frame 2 gave .* such as 3\.'):
        collect_given({2: square(1), 3: square(2), 4: square(1)}, None)
