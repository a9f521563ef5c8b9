"""PCK against loops written from the definition, and hand counts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stt_mm.evaluation.functional import count_points, pck

NAN = math.nan


def slow_pck(videos, variant):
    """Distances per joint over all videos, then the rates, joint by joint; also the number of lost joints."""
    num_joints = videos[0][1].shape[1]
    distances, lost = [[] for _ in range(num_joints)], 0
    for predictions, truths in videos:
        for t, truth in enumerate(truths):
            if variant == 'CRW' and t == 0:
                continue
            scored = []
            for j in range(num_joints):
                x = predictions[t, j, 0]
                seen = x > 0 if variant == 'STT' else x >= 0
                if not np.isnan(truth[j]).any():
                    lost += not seen
                    if seen:
                        scored.append(j)
            xs, ys = [truth[j, 0] for j in scored], [truth[j, 1] for j in scored]
            for j in scored:
                box = 0.6 * math.hypot(max(xs) - min(xs), max(ys) - min(ys))
                distance = math.dist(predictions[t, j], truth[j])
                distances[j].append(distance / box if box > 0 else math.inf)
    rates = [
        [100 * sum(value <= alpha for value in values) / len(values) for values in distances if values]
        for alpha in (0.1, 0.2, 0.3, 0.4, 0.5)
    ]
    return [np.mean(rate) if rate else NAN for rate in rates], lost


@st.composite
def videos(draw):
    """Coarse positions, so that equal values, lost joints, x of 0 and boxes without a size are frequent."""
    num_joints, result = draw(st.integers(1, 4)), []
    for _ in range(draw(st.integers(1, 3))):
        frames = draw(st.integers(1, 5))
        shape = (frames, num_joints, 2)
        truths = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([NAN, 0, 1, 2, 5, 9, 12])))
        near = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0, 0, 0.25, 0.7, 2])))
        predictions = np.where(np.isnan(truths), 3, truths) + near
        predictions[draw(hnp.arrays(bool, shape[:2]))] = -1
        extra = draw(hnp.arrays(np.float64, (draw(st.integers(0, 2)), num_joints, 2), elements=st.just(4.0)))
        result.append((np.concatenate([predictions, extra]), truths))
    return result


@settings(max_examples=200, deadline=None)
@given(videos=videos())
def test_pck_equals_its_definition(videos):
    counts = [count_points(*video) for video in videos]
    for variant in ('STT', 'CRW'):
        expected, lost = slow_pck(videos, variant)
        hits, scored = (sum(count[variant][key] for count in counts) for key in ('hits', 'scored'))
        assert pck(hits, scored).tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert sum(count[variant]['lost'] for count in counts) == lost


def example():
    """Three frames of two joints, 30 and 40 pixels apart in x and y: the normaliser is 30."""
    truths = np.tile([[[10.0, 10.0], [40.0, 50.0]]], (3, 1, 1))
    return truths.copy(), truths


def test_two_joints_counted_by_hand():
    predictions, truths = example()
    predictions[1, 0, 0] += 3  # a tenth of the normaliser: a hit at 0.1
    predictions[1, 1, 1] += 9.5  # a hit at 0.4
    predictions[2, 1, 1] += 16  # no hit
    counts = count_points(predictions, truths)
    assert counts['STT']['hits'].tolist() == [[3, 1], [3, 1], [3, 1], [3, 2], [3, 2]]
    assert counts['STT']['scored'].tolist() == [3, 3]
    assert counts['CRW']['hits'].tolist() == [[2, 0], [2, 0], [2, 0], [2, 1], [2, 1]]
    assert counts['CRW']['scored'].tolist() == [2, 2]
    assert pck(**{key: counts['CRW'][key] for key in ('hits', 'scored')}).tolist() == [50, 50, 50, 75, 75]
    assert counts['STT']['lost'] == counts['CRW']['lost'] == 0


def test_lost_joints_are_left_out_and_counted():
    predictions, truths = example()
    predictions[2, 1] = -1
    predictions[1, 0, 0] = 0  # lost for STT alone
    counts = count_points(predictions, truths)
    assert [counts[variant]['scored'].tolist() for variant in ('STT', 'CRW')] == [[2, 2], [2, 1]]
    assert [counts[variant]['lost'] for variant in ('STT', 'CRW')] == [2, 1]


def test_a_single_scored_joint_has_no_scale_and_is_missed():
    predictions, truths = example()
    predictions[1:, 1] = -1
    counts = count_points(predictions, truths)['CRW']
    assert counts['scored'].tolist() == [2, 0]
    assert not counts['hits'].any()


def test_joints_without_annotation_take_no_part():
    predictions, truths = example()
    truths[1, 1] = NAN
    truths[2, 0, 1] = NAN
    predictions[2, 0] = -1
    counts = count_points(predictions, truths)
    assert counts['CRW']['scored'].tolist() == [1, 1]
    assert counts['CRW']['lost'] == 0
    assert counts['STT']['scored'].tolist() == [2, 2]


def test_frames_beyond_the_annotation_do_not_count():
    predictions, truths = example()
    longer = np.concatenate([predictions, np.full((4, 2, 2), 1e3)])
    assert count_points(longer, truths)['STT']['hits'].tolist() == [[3, 3]] * 5


def test_a_joint_that_is_never_scored_is_left_out_of_the_mean():
    assert pck([[1, 0, 1]] * 5, [4, 0, 2]).tolist() == [37.5] * 5
    assert np.isnan(pck([[0, 0]] * 5, [0, 0])).all()


def test_equals_the_published_scripts(data):
    """The STT code and CRW's script give these numbers for one set of predictions of a random network."""
    arrays = np.load(data / 'jhmdb' / 'keypoints.npz')
    counts = [count_points(arrays[f'{v}/predictions'], arrays[f'{v}/truths']) for v in ('walk/w0', 'clap/c0')]
    published = {'STT': [61.39194139, 90.84249084, 100, 100, 100], 'CRW': [54.44444444, 89.19191919, 100, 100, 100]}
    for variant, expected in published.items():
        hits, scored = (sum(count[variant][key] for count in counts) for key in ('hits', 'scored'))
        assert pck(hits, scored).tolist() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ('shapes', 'message'),
    [
        (((3, 2, 2), (3, 3, 2)), 'same joints'),
        (((2, 2, 2), (3, 2, 2)), 'every annotated frame'),
        (((2, 3), (2, 3)), 'both be'),
        (((2, 3, 3),) * 2, 'both be'),
        (((3, 2), (3, 2, 2)), 'both be'),
        (((3, 2, 2), (3, 2)), 'both be'),
        (((3, 2, 2, 2), (3, 2, 2)), 'both be'),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=f'{message}.* got .* and '):
        count_points(*(np.zeros(shape) for shape in shapes))


def test_a_video_without_joints_or_without_frames_has_no_counts():
    counts = count_points(np.zeros((3, 0, 2)), np.zeros((3, 0, 2)))
    assert counts['STT']['hits'].shape == counts['CRW']['hits'].shape == (5, 0)
    counts = count_points(np.zeros((0, 4, 2)), np.zeros((0, 4, 2)))['CRW']
    assert counts['hits'].tolist() == [[0] * 4] * 5
    assert (counts['scored'].tolist(), counts['lost']) == ([0] * 4, 0)
