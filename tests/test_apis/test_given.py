import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from PIL import Image

from stt_mm.apis.given import check_fit, collect_given
from stt_mm.utils import write_mask


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


def test_255_is_void_beside_other_ids_and_an_object_alone():
    mask = square()
    mask[0] = 255
    np.testing.assert_array_equal(collect_given(mask, None)[0].mask, square())
    np.testing.assert_array_equal(collect_given(square(255), None)[0].mask, square(255))


def test_given_arrays_are_not_written_to():
    mask = square()
    mask[0] = 255
    mask.setflags(write=False)
    collect_given(mask, None)
    assert mask[0, 0] == 255


@pytest.mark.parametrize(('masks', 'points', 'message'), [
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
    ({0: square(3), 7: square(3)}, None, 'frame 7 gives object 3, which the mask for frame 0 gave already.*such as 1'),
    (None, [1, 2], r'frame 0 must be \[J, 2\].*\[1.0, 2.0\]'),
    (None, {4: [[1, np.nan]]}, 'frame 4 must be .* finite'),
])
def test_what_is_refused(masks, points, message):
    with pytest.raises(ValueError, match=message):
        collect_given(masks, points)


@pytest.mark.parametrize(('name', 'array', 'message'), [
    ('deep.png', square().astype(np.uint16) * 300, r'deep\.png is an image of mode I;?16.*8-bit grey'),
    ('colours.png', np.zeros((8, 10, 3), np.uint8), r'colours\.png is an image of mode RGB.*palette'),
    ('a.jpg', square(), r'a\.jpg is a JPEG.*Save the mask as a PNG'),
    ('none.png', np.zeros((8, 10), np.uint8), r'none\.png for frame 3 is empty'),
])
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
