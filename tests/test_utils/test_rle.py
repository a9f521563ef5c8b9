"""Run lengths and outlines give the masks that pycocotools and Label Studio give, whose codes are in ``data/rle``."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stt_mm.errors import InputError
from stt_mm.utils.rle import decode_brush, decode_rle, draw_polygons, encode_rle

DATA = Path(__file__).parents[1] / 'data' / 'rle'
COCO = json.loads((DATA / 'pycocotools.json').read_text())
BRUSH = json.loads((DATA / 'label_studio.json').read_text())['brush']


def drawn(case):
    """bool [H, W], the mask of a case."""
    height, width = case['size']
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(case['bits']), np.uint8))[: height * width]
    return bits.reshape(height, width).astype(bool)


def test_masks_have_the_codes_of_pycocotools():
    assert len(COCO['masks']) == 32
    for case in COCO['masks']:
        mask = drawn(case)
        assert encode_rle(mask) == dict(size=case['size'], counts=case['counts'])
        decoded = decode_rle(dict(size=case['size'], counts=case['counts']))
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)


def test_outlines_have_the_pixels_of_pycocotools():
    for case in COCO['polygons']:
        mask = draw_polygons(case['polygons'], tuple(case['size']))
        assert encode_rle(mask)['counts'] == case['counts'], case


def test_strokes_are_those_of_label_studio():
    for case in BRUSH:
        np.testing.assert_array_equal(decode_brush(case['rle'], tuple(case['size'])), drawn(case))


def test_against_pycocotools_itself():
    mask = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(5)
    for _ in range(50):
        height, width = map(int, rng.integers(1, 40, 2))
        area = rng.random((height, width)) < rng.random()
        assert encode_rle(area)['counts'] == mask.encode(np.asfortranarray(area.astype(np.uint8)))['counts'].decode()
        polygon = (rng.random((int(rng.integers(3, 8)), 2)) * [1.4 * width, 1.4 * height] - 0.2 * height).ravel()
        expected = mask.decode(mask.merge(mask.frPyObjects([polygon.tolist()], height, width)))
        np.testing.assert_array_equal(draw_polygons([polygon.tolist()], (height, width)), expected)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_there_and_back(mask):
    rle = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    np.testing.assert_array_equal(decode_rle(dict(rle, counts=rle['counts'].encode())), mask)
    runs, flat = [], [False, *mask.T.ravel().tolist()]
    edges = [t for t in range(1, len(flat)) if flat[t] != flat[t - 1]]
    for start, end in zip([1, *edges], [*edges, len(flat)], strict=True):
        runs.append(end - start)
    np.testing.assert_array_equal(decode_rle(dict(size=list(mask.shape), counts=runs)), mask)


def test_long_runs_take_several_letters():
    mask = np.zeros((2000, 3000), bool)
    mask[:, 1500:] = True
    mask[7, 3] = True
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


@pytest.mark.parametrize(
    ('rle', 'message'),
    [
        ([1, 2], 'has size and counts'),
        (dict(size=[2, 2]), 'has size and counts'),
        (dict(size=[2, 2], counts=[1, 2]), 'its runs have 3 pixels, but its size 2x2'),
        (dict(size=[2, 2], counts=[1, -1, 4]), 'a list of whole numbers'),
        (dict(size=[2, 2], counts=[1, True, 2]), 'a list of whole numbers'),
        (dict(size=[2, 2], counts=4), 'text or a list'),
        (dict(size=[2, 2], counts=''), 'no run-length code'),
        (dict(size=[2, 2], counts='4 \n'), 'no run-length code'),
        (dict(size=[2, 2], counts='é'), 'no run-length code'),
        (dict(size=[2, 2], counts='€'), 'no run-length code'),
        (dict(size=[2, 2], counts='oooo'), 'no run-length code'),
        (dict(size=[2, 2], counts='ooooooooo0'), 'longer than any picture'),
        (dict(size=[2, 2], counts='O'), 'its runs have -1 pixels'),
        (dict(size=[2], counts='4'), 'the size must be'),
        (dict(size=[0, 2], counts='0'), 'the size must be'),
        (dict(size=[2.5, 2], counts='5'), 'the size must be'),
        (dict(size=[10**9, 10**9], counts='4'), 'more than 100 million|STT_MM_MAX_PIXELS'),
    ],
)
def test_a_damaged_code_is_refused(rle, message):
    with pytest.raises(InputError, match=message) as error:
        decode_rle(rle, 'here')
    assert str(error.value).startswith('here: ')


@pytest.mark.parametrize('polygon', [[0, 0, 1, 1], [0, 0, 1, 1, 2], [], 7, '0,0,1,1,2,2'])
def test_an_outline_needs_three_points(polygon):
    with pytest.raises(InputError, match='three points or more'):
        draw_polygons([polygon], (4, 4))


@pytest.mark.parametrize('wrong', ['a', None, True, 1e300, float('inf'), float('nan')])
def test_an_outline_is_of_numbers(wrong):
    with pytest.raises(InputError, match=f'up to 131072 pixels, got {wrong!r}'.replace('+', '.')):
        draw_polygons([[*range(40), 3, wrong]], (4, 4))


@pytest.mark.parametrize(
    ('codes', 'message'),
    [
        (None, 'a list of bytes'),
        ([], 'a list of bytes'),
        ([1, 300], 'a list of bytes'),
        (['a'], 'a list of bytes'),
        ([0, 0], 'end early'),
        (BRUSH[0]['rle'][:-2], 'end early'),
        ([0, 0, 255, *BRUSH[0]['rle'][3:]], 'pixels, the picture has'),
    ],
)
def test_damaged_strokes_are_refused(codes, message):
    with pytest.raises(InputError, match=message):
        decode_brush(codes, tuple(BRUSH[0]['size']))


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=12), st.lists(st.integers(0, 255), max_size=30))
def test_any_text_is_a_mask_or_refused(text, codes):
    for decode in (lambda: decode_rle(dict(size=[3, 4], counts=text)), lambda: decode_brush(codes, (3, 4))):
        with contextlib.suppress(InputError):
            assert decode().shape == (3, 4)
