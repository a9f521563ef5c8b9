"""PCK of BADJA against that of PIPs' test, and hand counts."""

import json

import numpy as np
import pytest

from stt_mm.datasets.badja import JOINTS
from stt_mm.evaluation.functional import correct_joints, object_area, to_scored_size
from stt_mm.utils.masks import voc_palette

CASES = ('a', 'b_query_invisible', 'c_two_objects', 'd_no_object', 'e_exact')


def truths_of(joints, visibility, size, frames, length):
    """``[T, 20, 2]`` at the scored size, NaN where not annotated or not visible, from (y, x)."""
    truths = np.full((length, 20, 2), np.nan)
    places = to_scored_size(joints[:, JOINTS, ::-1], size)
    truths[frames - frames[0]] = np.where(visibility[:, JOINTS, None], places, np.nan)
    return truths


def check(golden, truths, areas):
    right, scored = correct_joints(golden['tracks'], truths, areas)
    assert np.array_equal(right[scored], golden['correct'])
    assert not right[~scored].any()
    assert 100 * right.sum() / scored.sum() == pytest.approx(float(golden['expected']), abs=1e-4)


@pytest.mark.parametrize('case', CASES)
def test_synthetic_annotations_score_as_in_the_public_code(case, data):
    golden = np.load(data / 'points' / f'badja_metric_{case}.npz')
    areas = [object_area(mask) for mask in golden['segmentation']]
    assert areas == golden['area'].tolist()
    size = golden['segmentation'].shape[1:]
    truths = truths_of(golden['joints'], golden['visibility'], size, golden['frames'], len(areas))
    check(golden, truths, areas)


@pytest.mark.parametrize('animal', ['dog', 'dog-agility'])
def test_real_annotations_score_as_in_the_public_code(animal, data):
    golden = np.load(data / 'points' / f'badja_real_{animal}.npz')
    entries = json.loads((data / 'points' / f'{animal}.json').read_text())
    joints, visibility = (np.array([entry[key] for entry in entries]) for key in ('joints', 'visibility'))
    size = golden['original_shape']
    assert np.abs(to_scored_size(joints[:, JOINTS, ::-1], size) - golden['ground_truth']).max() < 1e-4
    assert np.array_equal(visibility[:, JOINTS], golden['visible'])
    check(golden, truths_of(joints, visibility, size, golden['frames'], len(golden['area'])), golden['area'])


def test_the_area_is_what_is_red():
    """By the palette itself, at the scored size and beside it."""
    red = voc_palette()[:, 0] > 0
    for number in range(256):
        mask = np.zeros((320, 512), np.uint8)
        mask[10:20, 5:9] = number
        assert object_area(mask) == 40 * red[number]
    mask = np.zeros((640, 1024), np.uint8)
    mask[::2, ::2] = 1  # what floor takes
    assert object_area(mask) == 320 * 512
    assert object_area(np.ones((3, 5), np.uint8)) == 320 * 512


def test_a_distance_of_just_the_threshold_is_too_far():
    truths = np.zeros((2, 4, 2))
    truths[1, 3] = np.nan
    found = np.zeros((2, 4, 2))
    found[:, :, 0] = [19.999, 20, 20.001, 0]
    right, scored = correct_joints(found, truths, [1e9, 100**2])
    assert scored.tolist() == [[False] * 4, [True, True, True, False]]
    assert right[1].tolist() == [True, False, False, False]
    found[1, 0] = np.inf
    assert not correct_joints(found, truths, [0, 100**2])[0].any()
    assert not correct_joints(truths * 0, truths, [0, 0])[0].any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r'got \[2, 4, 2\], \[2, 5, 2\] and \[2\]'):
        correct_joints(np.zeros((2, 4, 2)), np.zeros((2, 5, 2)), [1, 1])
    with pytest.raises(ValueError, match=r'areas \[T\]'):
        correct_joints(np.zeros((2, 4, 2)), np.zeros((2, 4, 2)), [1])
