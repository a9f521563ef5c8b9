"""mIoU against loops, hand counts and the value of the published scripts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stt_mm.evaluation.functional import accuracies, category_iou, confusion_matrix


@settings(max_examples=100, deadline=None)
@given(data=st.data(), shape=hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6))
def test_iou_equals_its_definition(data, shape):
    predictions = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 19)))
    truths = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 19, 20, 254, 255])))
    pixels = [(int(p), int(t)) for p, t in zip(predictions.flat, truths.flat, strict=True) if t < 20]
    expected = []
    for category in range(20):
        both = sum(p == t == category for p, t in pixels)
        union = sum(category in pixel for pixel in pixels)
        expected.append(both / union if union else np.nan)
    confusion = confusion_matrix(predictions, truths)
    assert confusion.sum() == len(pixels)
    assert category_iou(confusion).tolist() == pytest.approx(expected, nan_ok=True)


def test_rows_are_true_categories():
    confusion = confusion_matrix(np.array([[0, 3, 3]]), np.array([[0, 0, 19]]))
    assert {tuple(index): int(confusion[tuple(index)]) for index in np.argwhere(confusion)} == {
        (0, 0): 1,
        (0, 3): 1,
        (19, 3): 1,
    }


def test_equals_the_published_scripts(data):
    """One matrix over both videos, frame 0 and the background included; 0.6872 is what the STT code rounds it to."""
    masks = np.load(data / 'vip' / 'masks.npz')
    confusion = sum(confusion_matrix(masks[f'{v}/prediction'], masks[f'{v}/truth']) for v in ('videos1', 'videos2'))
    iou = category_iou(confusion)
    assert np.count_nonzero(~np.isnan(iou)) == 6
    assert np.nanmean(iou) == pytest.approx(0.6871828344, rel=0, abs=1e-10)


def test_predictions_that_are_no_category():
    predictions = np.array([[0, 20, 7, 255]], np.uint8)
    with pytest.raises(ValueError, match=r'Predicted values \[20, 255\] are no categories'):
        confusion_matrix(predictions, np.full((1, 4), 255, np.uint8))
    with pytest.raises(ValueError, match=r'\[1, 4\] and \[4, 1\]'):
        confusion_matrix(predictions, predictions.T)
    with pytest.raises(ValueError, match=r'Predicted values \[-1\] are no categories'):
        confusion_matrix(np.array([-1, 3]), np.array([0, 0]))


def test_truths_below_0_are_ignored_like_those_above_19():
    confusion = confusion_matrix(np.array([0, 1, 19]), np.array([-1, 20, 19]))
    assert (confusion.sum(), confusion[19, 19]) == (1, 1)


def test_accuracies_by_hand():
    confusion = confusion_matrix(np.array([0, 0, 1, 1, 3]), np.array([0, 0, 0, 0, 2]))
    assert accuracies(confusion) == (0.25, 0.4)
    assert np.isnan(accuracies(np.zeros((20, 20), int))).all()
