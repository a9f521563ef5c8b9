"""The scores against a twin that goes object by object and frame by frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stt_mm.evaluation.functional import boundary_measure, region_similarity, score_objects, summarise_categories

SIZE = (9, 11)


@st.composite
def videos(draw):
    """Predictions, truths of some frames, their indices, and births of objects 1, 2 and 7."""
    num_frames = draw(st.integers(1, 5))
    ids = st.sampled_from([0, 0, 1, 2, 7])
    predictions = draw(hnp.arrays(np.uint8, (num_frames, *SIZE), elements=ids, fill=st.just(1)))
    frames = sorted(draw(st.sets(st.integers(0, num_frames - 1))))
    truths = draw(hnp.arrays(np.uint8, (len(frames), *SIZE), elements=ids, fill=st.just(2)))
    births = {k: draw(st.integers(0, num_frames - 1)) for k in (1, 2, 7)}
    return predictions, truths, frames, births


@settings(max_examples=80, deadline=None)
@given(video=videos())
def test_equals_a_loop(video):
    predictions, truths, frames, births = video
    scores = score_objects(*video)
    assert list(scores) == [1, 2, 7]
    for k, birth in births.items():
        pairs = [(predictions[t] == k, truth == k) for t, truth in zip(frames, truths, strict=True) if t > birth]
        if not pairs:
            assert scores[k] is None
            continue
        for value, measure in zip(scores[k], (region_similarity, boundary_measure), strict=True):
            assert value == pytest.approx(np.mean([measure(*pair) for pair in pairs]), abs=1e-12)


def test_the_frame_of_birth_and_what_comes_before_do_not_count_and_the_last_frame_does():
    truths = np.zeros((4, *SIZE), np.uint8)
    truths[:, 2:6, 2:6] = 1
    predictions = truths.copy()
    predictions[:2] = 0
    assert score_objects(predictions, truths, range(4), {1: 1}) == {1: (1.0, 1.0)}
    predictions[3] = 0
    assert score_objects(predictions, truths, range(4), {1: 1}) == {1: (0.5, 0.5)}
    assert score_objects(predictions, truths[[0, 2]], [0, 2], {1: 0}) == {1: (1.0, 1.0)}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(truths=np.zeros((2, 9, 10), np.uint8)), r'\[3, 9, 11\] and \[2, 9, 10\]'),
        (dict(frames=[1, 0]), r'ascend within 0 to 2, got \[1, 0\]'),
        (dict(frames=[1, 1]), 'ascend'),
        (dict(frames=[1, 3]), 'ascend'),
        (dict(frames=[-1, 1]), 'ascend'),
        (dict(predictions=np.zeros((3, 9), np.uint8), truths=np.zeros((2, 9), np.uint8)), r'be \[T, H, W\]'),
        (dict(first_frames={1: 0}), r'Predicted ids \[4\], but the objects are \[1\]'),
    ],
)
def test_arguments_that_do_not_fit(changes, message):
    predictions = np.zeros((3, *SIZE), np.uint8)
    predictions[0, 0, 0] = 4
    arguments = dict(predictions=predictions, truths=np.zeros((2, *SIZE), np.uint8), frames=[0, 2], first_frames={4: 0})
    with pytest.raises(ValueError, match=message):
        score_objects(**{**arguments, **changes})


def test_overall_is_the_mean_of_four_numbers():
    scores = [(0.9, 0.7), (0.5, 0.3), (0.2, 0.6)]
    metrics, official = summarise_categories(scores, [True, True, False])
    assert official
    assert metrics == pytest.approx(
        {
            'Overall': (0.7 + 0.5 + 0.2 + 0.6) / 4,
            'J-Mean': 1.6 / 3,
            'F-Mean': 1.6 / 3,
            'J-Seen': 0.7,
            'F-Seen': 0.5,
            'J-Unseen': 0.2,
            'F-Unseen': 0.6,
        }
    )


def test_overall_without_the_division():
    scores = [(0.9, 0.7), (0.5, 0.3)]
    for seen, extra in ((None, {}), ([True, True], {'J-Seen': 0.7, 'F-Seen': 0.5})):
        metrics, official = summarise_categories(scores, seen)
        assert not official
        assert metrics == pytest.approx({'Overall': 0.6, 'J-Mean': 0.7, 'F-Mean': 0.5, **extra})
    for wrong, shape in (
        ([], r'\[0\]'),
        ([0.5, 0.5], r'\[2\]'),
        ([(0.5, 0.5, 0.5)], r'\[1, 3\]'),
        (np.zeros((0, 2)), r'\[0, 2\]'),
    ):
        with pytest.raises(ValueError, match=rf'at least one object, \[K, 2\], got {shape}'):
            summarise_categories(wrong)
