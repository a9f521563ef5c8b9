"""The measures against hand counts, a slow twin written from the definition, and the official numbers."""

import importlib.util
import io
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stt_mm.evaluation.functional import (
    boundary_measure,
    evaluate_video,
    measure_objects,
    region_similarity,
    statistics,
)

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parents[1] / 'data' / 'davis_metric'
OFFICIAL = {'J-M': 'J-Mean', 'J-R': 'J-Recall', 'J-D': 'J-Decay', 'F-M': 'F-Mean', 'F-R': 'F-Recall', 'F-D': 'F-Decay'}


def square(top, left, side, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def slow_boundary(mask):
    """Pixels that differ from an existing right, lower or lower right neighbour; lower right only off the edges."""
    height, width = mask.shape
    return {
        (y, x)
        for y in range(height)
        for x in range(width)
        for dy, dx in ((0, 1), (1, 0), (1, 1))
        if y + dy < height and x + dx < width and mask[y, x] != mask[y + dy, x + dx]
    }


def slow_boundary_measure(prediction, truth, tolerance):
    radius = np.ceil(tolerance * np.hypot(*prediction.shape))
    first, second = slow_boundary(prediction), slow_boundary(truth)

    def found(points, others):
        near = [any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in points]
        return np.mean(near) if near else 1.0

    precision, recall = found(first, second), found(second, first)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@st.composite
def pairs(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
    return draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


@st.composite
def box_pairs(draw):
    """Few pixels in large frames: what the crop to the masks has to get right."""
    shape = draw(st.tuples(st.integers(8, 24), st.integers(8, 24)))
    masks = np.zeros((2, *shape), bool)
    for mask in masks:
        for _ in range(draw(st.integers(0, 2))):
            top, left = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
            mask[top : top + draw(st.integers(1, 24)), left : left + draw(st.integers(1, 24))] = True
    return masks[0], masks[1]


@settings(max_examples=150, deadline=None)
@given(masks=st.one_of(pairs(), box_pairs()), tolerance=st.sampled_from([0.008, 0.1, 0.2]))
def test_boundary_measure_equals_its_definition(masks, tolerance):
    assert float(boundary_measure(*masks, tolerance)) == pytest.approx(
        slow_boundary_measure(*masks, tolerance), abs=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(masks=pairs())
def test_region_similarity_equals_its_definition(masks):
    first, second = ({tuple(point) for point in np.argwhere(mask)} for mask in masks)
    expected = len(first & second) / len(first | second) if first | second else 1.0
    assert float(region_similarity(*masks)) == pytest.approx(expected, abs=1e-15)


def test_two_squares_counted_by_hand():
    # 36 pixels each, shifted by 2: 24 shared, 48 in all.
    assert float(region_similarity(square(5, 5, 6), square(5, 7, 6))) == 0.5
    # In a frame of 20x30 the disc has radius 1, so a shift by 1 costs nothing, and far away nothing is found.
    assert float(boundary_measure(square(5, 5, 6), square(5, 6, 6))) == 1.0
    assert float(boundary_measure(square(5, 5, 6), square(5, 15, 6))) == 0.0


def test_tolerance_is_that_of_the_whole_frame():
    """The radius is 8, 9 and 10 pixels in the three sizes of DAVIS: a dot may move so far, and no pixel farther."""
    for size, radius in (((480, 854), 8), ((480, 910), 9), ((480, 1152), 10)):
        dot = square(200, 200, 1, size)
        assert float(boundary_measure(dot, square(200, 200 + radius, 1, size))) == 1.0
        assert float(boundary_measure(dot, square(200, 201 + radius, 1, size))) < 1.0


def test_empty_and_full_masks():
    empty, full, some = np.zeros((20, 30), bool), np.ones((20, 30), bool), square(5, 5, 6)
    values = {
        (0, 0): (empty, empty),
        (1, 0): (full, empty),
        (1, 1): (full, full),
        (2, 0): (some, empty),
        (0, 2): (empty, some),
    }
    assert {k: float(region_similarity(*v)) for k, v in values.items()} == {
        (0, 0): 1,
        (1, 0): 0,
        (1, 1): 1,
        (2, 0): 0,
        (0, 2): 0,
    }
    # A mask that fills the frame has no boundary, so it equals an empty one in F.
    assert {k: float(boundary_measure(*v)) for k, v in values.items()} == {
        (0, 0): 1,
        (1, 0): 1,
        (1, 1): 1,
        (2, 0): 0,
        (0, 2): 0,
    }


def test_stacks_are_frame_by_frame():
    predictions = np.stack([square(5, 5, 6), square(0, 0, 3), np.zeros((20, 30), bool)])
    truths = np.stack([square(6, 5, 6), square(9, 9, 3), square(1, 1, 1)])
    for measure in (region_similarity, boundary_measure):
        frames = zip(predictions, truths, strict=True)
        assert measure(predictions, truths).tolist() == [float(measure(*frame)) for frame in frames]


def test_statistics_by_hand():
    # Nine values: edges 0, 2, 4, 6, 8, both ends included, so thirds at each end.
    values = np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    mean, recall, decay = statistics(values)
    assert (mean, recall, decay) == pytest.approx((0.6, 5 / 9, 0.9 - 0.3))
    assert statistics(np.array([0.5])) == (0.5, 0.0, 0.0)
    # Of three values the inner edges are 1.5 and 2.5; halves are rounded up.
    assert statistics([0.9, 0.6, 0.3]) == pytest.approx((0.6, 2 / 3, 0.75 - 0.3))
    for wrong in ([], [[0.5]]):
        with pytest.raises(ValueError, match='at least one frame'):
            statistics(wrong)


def test_decay_of_more_than_256_frames_does_not_overflow():
    values = np.linspace(1, 0, 1001)
    assert statistics(values)[2] == pytest.approx(0.75, abs=1e-9)


def test_first_and_last_frame_do_not_count():
    truths = np.zeros((4, 20, 30), np.uint8)
    truths[:, square(5, 5, 6)] = 1
    predictions = truths.copy()
    predictions[[0, -1]] = 7
    assert evaluate_video(predictions, truths) == [
        {'J-Mean': 1, 'J-Recall': 1, 'J-Decay': 0, 'F-Mean': 1, 'F-Recall': 1, 'F-Decay': 0}
    ]
    predictions[1] = 0
    assert evaluate_video(predictions, truths)[0]['J-Mean'] == 0.5


def test_objects_are_those_of_the_first_frame_and_255_is_void():
    truths = np.zeros((3, 20, 30), np.uint8)
    truths[0, square(0, 0, 4)], truths[0, square(10, 10, 4)], truths[0, square(10, 20, 4)] = 1, 3, 255
    truths[1, square(0, 0, 4)], truths[1, square(10, 20, 4)] = 1, 255
    predictions = np.where(truths == 255, 0, truths)
    scores = evaluate_video(predictions, truths)
    assert [score['J-Mean'] for score in scores] == [1, 1, 1]
    predictions[1, square(10, 20, 4)] = 2
    assert [score['J-Mean'] for score in evaluate_video(predictions, truths)] == [1, 0, 1]


def test_more_ids_than_objects():
    truths = np.ones((3, 4, 4), np.uint8)
    predictions = truths.copy()
    predictions[1, 0, :2] = 2, 9
    with pytest.raises(ValueError, match=r'Predicted ids \[2, 9\], but the ground truth has the objects 1 to 1'):
        evaluate_video(predictions, truths)


@pytest.mark.parametrize(
    ('shapes', 'message'),
    [
        (((3, 4, 4), (3, 4, 5)), r'got \[3, 4, 4\] and \[3, 4, 5\]'),
        (((4, 4), (4, 4)), r'both be \[T, H, W\]'),
        (((2, 4, 4), (2, 4, 4)), '3 are needed, got 2'),
        (((3, 4, 4), (3, 4, 4)), 'no object in the first frame'),
    ],
)
def test_videos_that_cannot_be_scored(shapes, message):
    with pytest.raises(ValueError, match=message):
        evaluate_video(*(np.zeros(shape, np.uint8) for shape in shapes))


def test_masks_that_do_not_fit():
    for measure in (region_similarity, boundary_measure):
        with pytest.raises(ValueError, match=r'\[4, 4\] and \[4, 5\]'):
            measure(np.zeros((4, 4), bool), np.zeros((4, 5), bool))
        for shape in ((4,), (1, 1, 4, 4)):
            with pytest.raises(ValueError, match=r'must both be \[H, W\] or \[T, H, W\]'):
                measure(np.zeros(shape, bool), np.zeros(shape, bool))
    for tolerance in (-0.1, 0, 1, 8):
        with pytest.raises(ValueError, match='tolerance'):
            boundary_measure(np.zeros((4, 4), bool), np.zeros((4, 4), bool), tolerance=tolerance)


@pytest.fixture(scope='module')
def official():
    with lzma.open(DATA / 'masks.npz.xz') as file:
        masks = dict(np.load(io.BytesIO(file.read())))
    return masks, json.loads((DATA / 'expected.json').read_text())


@pytest.mark.parametrize('version', ['a', 'b'])
@pytest.mark.parametrize('video', ['bike-packing', 'blackswan', 'loading', 'shooting'])
def test_equals_the_official_evaluation(official, version, video):
    masks, expected = official
    scores = evaluate_video(masks[f'{video}/prediction'], masks[f'{video}/ground_truth_{version}'])
    expected = [row for name, row in expected[version].items() if name.rsplit('_', 1)[0] == video]
    assert len(scores) == len(expected)
    for score, row in zip(scores, expected, strict=True):
        assert score == pytest.approx({name: row[short] for short, name in OFFICIAL.items()}, rel=0, abs=1e-12)


@pytest.mark.parametrize('size', [(120, 213), (90, 64)])
def test_a_video_is_scored_frame_by_frame(size):
    path = ROOT / 'tools' / 'benchmarks' / 'davis_metric.py'
    spec = importlib.util.spec_from_file_location('davis_metric_benchmark', path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    predictions, truths = benchmark.generate(8, 3, size, seed=1)
    values = measure_objects(predictions, truths, [1, 3])
    assert values.shape == (2, 2, 8)
    for row, k in zip(values, (1, 3), strict=True):
        assert row[0].tolist() == region_similarity(predictions == k, truths == k).tolist()
        assert row[1].tolist() == boundary_measure(predictions == k, truths == k).tolist()
    assert 0 < values.mean() < 1


def test_statistics_are_computed_in_double_precision():
    values = np.full(1001, 0.1, np.float32)
    values[::3] = 0.7
    assert statistics(values) == statistics(values.astype(np.float64))
    assert statistics(values)[0] == pytest.approx(np.mean(values.tolist()), rel=1e-14)


@pytest.mark.parametrize('first', [[[255, 255]], [[0, 255]]])
def test_void_alone_is_no_object(first):
    truths = np.array([first] * 3, np.uint8)
    with pytest.raises(ValueError, match='no object in the first frame'):
        evaluate_video(truths * 0, truths)


def test_masks_need_not_be_bool():
    first, second = square(5, 5, 6), square(5, 7, 6)
    for measure in (region_similarity, boundary_measure):
        assert measure(7 * first.astype(np.uint8), 2 * second.astype(int)) == measure(first, second)


def test_the_length_of_a_video_is_no_part_of_the_tolerance():
    """The diagonal of 20 x 30 pixels is 36.06; that of a box with the frames as third side would be longer."""
    dots = square(5, 5, 1), square(5, 7, 1)
    stacks = [np.repeat(dot[None], 130, 0) for dot in dots]
    # A dot has two boundary pixels in each row; a disc of one pixel reaches the nearer one of the other dot's.
    assert boundary_measure(*stacks, tolerance=1 / 36.2).tolist() == [0.5] * 130
    assert boundary_measure(*stacks, tolerance=2 / 36.2).tolist() == [1] * 130
    # 0.008 of 36.06 is one pixel, rounded up.
    assert measure_objects(*stacks, [True])[0].tolist() == [[0] * 130, [0.5] * 130]
