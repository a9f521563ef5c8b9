"""Points of any frame, to both sides, and where something hides them."""

import numpy as np
import pytest
from mmengine.structures import BaseDataElement
from tiny_data import texture

from stt_mm.models import frame_labels
from stt_mm.models.tracker import FrameLabels
from stt_mm.registry import MODELS


def color_model(**changes):
    protocol = dict(dict(name='stt_tapvid_s8', stride=4, radius=3, num_context=4), **changes)
    return MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=None,
            backbone=dict(type='stt_mm.ColorPatches', size=5, stride=4),
            propagator=dict(type='stt_mm.LabelPropagator', protocol=protocol),
        )
    ).eval()


def moving(frames=9):
    """A picture that goes by one cell to the right in each frame, without an end, and where one of its pixels is."""
    picture = texture((64, 96), seed=3)
    video = [np.ascontiguousarray(np.roll(picture, 4 * t, 1)) for t in range(frames)]
    return video, lambda x, y: np.stack([np.array([x + 4.0 * t, y]) for t in range(frames)])


GIVEN = {3: [[36.0, 20.0], [50.0, 30.0]], 0: [[10.0, 40.0]], 6: [[60.0, 12.0]]}


def given(only=None):
    points = {t: np.array(rows, np.float32) for t, rows in GIVEN.items()}
    return points if only is None else {only[0]: points[only[0]][[only[1]]]}


def test_points_go_to_both_sides_of_their_frame():
    video, path = moving()
    sample = color_model().predict(video, BaseDataElement(given_points=given(), metainfo=dict(both_ways=True)))
    assert sample.pred_points.shape == (9, 4, 2)
    assert sample.pred_points.dtype == np.float32
    born = [0, 3, 3, 6]
    places = [(10, 40), (36 - 12, 20), (50 - 12, 30), (60 - 24, 12)]
    for number, place in enumerate(places):
        assert np.abs(sample.pred_points[:, number] - path(*place)).max() < 4  # a cell
        assert np.array_equal(sample.pred_points[born[number], number], path(*place)[born[number]])
    assert not sample.pred_occluded.any()


def test_one_pass_is_the_second_half_of_two():
    video, _ = moving()
    model = color_model()
    one = model.predict(video, BaseDataElement(given_points=given()))
    two = model.predict(video, BaseDataElement(given_points=given(), metainfo=dict(both_ways=True)))
    before = np.arange(9)[:, None] < [0, 3, 3, 6]
    assert np.array_equal(one.pred_points[~before], two.pred_points[~before])
    assert (one.pred_points[before] == -1).all()
    assert one.pred_occluded[before].all()
    assert (two.pred_points[before] >= 0).all()


@pytest.mark.parametrize('both_ways', [False, True])
@pytest.mark.parametrize('name', ['stt_tapvid_s8', 'crw_jhmdb', 'liir_jhmdb'])
def test_no_query_has_an_influence_on_another(both_ways, name):
    """Each alone is what it is among the others, for every codec and vote."""
    video, _ = moving(7)
    rng = np.random.default_rng(0)
    video = [np.clip(frame + rng.normal(0, 25, frame.shape), 0, 255).astype(np.uint8) for frame in video]
    window = dict(radius=3, num_context=5, occlusion=6.0, size=None)
    model = color_model(name=name, **window)

    def run(points):
        return model.predict(video, BaseDataElement(given_points=points, metainfo=dict(both_ways=both_ways)))

    together = run(given())
    for column, only in enumerate([(0, 0), (3, 0), (3, 1), (6, 0)]):
        alone = run(given(only))
        np.testing.assert_allclose(together.pred_points[:, column], alone.pred_points[:, 0], rtol=0, atol=1e-3)
        assert np.array_equal(together.pred_occluded[:, column], alone.pred_occluded[:, 0])


def test_a_point_is_hidden_while_something_lies_over_it():
    picture, cover = texture((64, 96), seed=3), texture((64, 96), seed=8)[:, :40] // 3
    video = [picture.copy() for _ in range(9)]
    for time in (3, 4, 5):
        video[time][:, 8:48] = cover
    points = np.array([[28.0, 30.0], [80.0, 30.0]], np.float32)
    model = color_model()
    sample = model.predict(video, BaseDataElement(given_points={0: points}))
    hidden = np.zeros((9, 2), bool)
    hidden[3:6, 0] = True
    assert np.array_equal(sample.pred_occluded, hidden)
    # A threshold of the whole picture hides nothing but what is lost, and one without a threshold does not ask.
    wide = color_model(occlusion=200.0).predict(video, BaseDataElement(given_points={0: points}))
    assert np.array_equal(wide.pred_occluded, (wide.pred_points < 0).any(2))
    assert np.array_equal(wide.pred_points, sample.pred_points)
    silent = color_model(occlusion=None).predict(video, BaseDataElement(given_points={0: points}))
    assert 'pred_occluded' not in silent
    assert np.array_equal(silent.pred_points, sample.pred_points)


def test_a_point_that_nobody_knows_is_hidden_from_the_start():
    video, _ = moving(3)
    points = np.array([[20.0, 20.0], [np.nan, np.nan]], np.float32)
    sample = color_model().predict(video, BaseDataElement(given_points={0: points}))
    assert (sample.pred_points[:, 1] == -1).all()
    assert sample.pred_occluded.tolist() == [[False, True]] * 3


def test_passes_are_joined_by_the_frame_of_each_point():
    """Numbers in place of points: the frame as it counts in its pass, then the point by its frame and place."""
    points = {1: np.zeros((1, 2)), 2: np.zeros((1, 2)), 0: np.zeros((2, 2))}

    def one_pass(order, base):
        rows = []
        for time in range(4):
            seen = [10 * t + k for t in order(time) for k in range(len(points[t]))]
            marks = np.array([[base + time, number] for number in seen], np.float32).reshape(-1, 2)
            rows.append(FrameLabels(np.zeros((1, 1)), marks, None, np.zeros(len(marks), bool)))
        return frame_labels.PointTracks.of(rows)

    forward = one_pass(lambda time: [t for t in (0, 1, 2) if t <= time], 0)
    back = one_pass(lambda time: [t for t in (2, 1, 0) if 3 - t <= time], 100)
    joined = forward.joined(back, points)
    assert joined.points[..., 1].tolist() == [[0, 1, 10, 20]] * 4
    assert joined.points[..., 0].tolist() == [[0, 0, 103, 103], [1, 1, 1, 102], [2] * 4, [3] * 4]
    assert not joined.occluded.any()
