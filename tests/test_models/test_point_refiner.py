"""Points found again in the frames themselves, by the tracker that evaluation and the API share."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_data import texture

from stt_mm.models import LabelPropagator
from stt_mm.models.tracker import Tracker
from stt_mm.registry import MODELS

STEP = np.array([0.8, -0.35])


def color_model(**changes):
    protocol = dict(dict(name='stt_tapvid_s8', stride=4, radius=3, num_context=4, refine=6), **changes)
    return MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=None,
            backbone=dict(type='stt_mm.ColorPatches', size=5, stride=4),
            propagator=dict(type='stt_mm.LabelPropagator', protocol=protocol),
        )
    ).eval()


def drifting(frames=6, size=(64, 96)):
    """A picture that goes by a fraction of a pixel per frame; what comes in at the border is its mirror image."""
    picture = cv2.GaussianBlur(texture(size, seed=3), (0, 0), 1.5)
    moves = [np.float32([[1, 0, t * STEP[0]], [0, 1, t * STEP[1]]]) for t in range(frames)]
    return [
        cv2.warpAffine(picture, move, size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        for move in moves
    ]


def distance(sample, place, born=0):
    path = place + STEP * (np.arange(len(sample.pred_points)) - born)[:, None]
    return np.linalg.norm(sample.pred_points[:, 0] - path, axis=1)[born:]


def predict(model, video, points, **metainfo):
    given = {time: np.array(rows, np.float32) for time, rows in points.items()}
    return model.predict(video, BaseDataElement(given_points=given, metainfo=metainfo))


@pytest.mark.parametrize(
    ('codec', 'source', 'limit'),
    # Steps of which each begins where the one before it ended add their errors up.
    [
        ('input', 'both', 0.4),
        ('input', 'given', 0.4),
        ('input', 'last', 0.8),
        ('image', 'both', 0.4),
        ('grid', 'both', 0.4),
    ],
)
def test_a_fraction_of_a_pixel_is_left_where_maps_leave_a_part_of_a_cell(codec, source, limit):
    video, place = drifting(), [41.3, 30.6]
    coarse = predict(color_model(refine=None, points=codec), video, {0: [place]})
    fine = predict(color_model(points=codec, refine_from=source), video, {0: [place]})
    assert distance(coarse, place).max() > 1
    assert distance(fine, place).max() < limit


@pytest.mark.parametrize(('size', 'limit'), [((96, 120), 0.4), ((48, 64), 0.8)])
def test_the_network_may_see_frames_of_another_size(size, limit):
    video, place = drifting(5), [41.3, 30.6]
    assert distance(predict(color_model(size=size), video, {0: [place]}), place).max() < limit


def test_points_of_any_frame_to_both_sides_each_by_itself():
    video = drifting(6)
    points = {0: [[20.2, 30.1]], 3: [[60.4, 40.8], [30.5, 50.25]], 5: [[70.1, 20.6]]}
    together = predict(color_model(), video, points, both_ways=True)
    for number, (time, place) in enumerate((time, place) for time, rows in points.items() for place in rows):
        alone = predict(color_model(), video, {time: [place]}, both_ways=True)
        np.testing.assert_allclose(together.pred_points[:, [number]], alone.pred_points, atol=1e-3)
        assert np.array_equal(alone.pred_points[time, 0], np.float32(place))
        path = place + STEP * (np.arange(6) - time)[:, None]
        assert np.abs(alone.pred_points[:, 0] - path).max() < 0.5


def test_unknown_points_stay_lost_and_the_others_inside():
    video = drifting()
    rows = [[41.3, 30.6], [np.nan, 5.0], [95.0, 0.0], [0.0, 63.0], [-500.0, 20.0], [94.9, 62.5]]
    found = predict(color_model(), video, {0: rows}).pred_points
    assert np.isfinite(found).all()
    assert (found[:, 1] == -1).all()
    assert (found[1:, 4] == -1).all()
    others = found[:, [0, 2, 3, 5]]
    assert (others >= 0).all()
    assert (others <= [95, 63]).all()
    without = predict(color_model(), video, {0: rows[:1]}).pred_points
    np.testing.assert_allclose(found[:, :1], without, atol=1e-3)


def test_what_is_nowhere_to_be_seen_is_where_its_map_has_it():
    video, place = drifting(), [41.3, 30.6]
    video = [video[0], *[texture((64, 96), seed=t) for t in range(50, 53)]]
    coarse = predict(color_model(refine=None), video, {0: [place]}).pred_points
    fine = predict(color_model(refine_from='given'), video, {0: [place]}).pred_points
    np.testing.assert_allclose(fine, coarse, atol=1e-4)


def covered(frames=9):
    """A point that something lies over in frames 3 to 5, and one that stays in sight, in a picture that goes on."""
    video, cover = drifting(frames), texture((64, 96), seed=8)[:, :40] // 3
    for time in (3, 4, 5):
        video[time][:, 8:48] = cover
    hidden = np.zeros((frames, 2), bool)
    hidden[3:6, 0] = True
    return video, [[28.3, 30.6], [70.4, 36.7]], hidden


def test_a_point_is_hidden_while_something_lies_over_it():
    video, points, hidden = covered()
    found = predict(color_model(occlusion=4.0, refine_from='given'), video, {0: points})
    assert np.array_equal(found.pred_occluded, hidden)


def test_what_looks_like_the_point_is_in_sight_though_no_way_leads_back():
    """With a limit of nothing every way back ends elsewhere."""
    video, points, hidden = covered()
    without = predict(color_model(occlusion=0.0, refine=None), video, {0: points})
    assert without.pred_occluded[1:].all()
    found = predict(color_model(occlusion=0.0, refine_from='given'), video, {0: points})
    assert np.array_equal(found.pred_occluded, hidden)


def test_the_way_back_begins_where_the_map_has_a_point():
    """Nothing is alike, so that it decides: the same with and without finer places."""
    video = [frame // 2 + texture((64, 96), seed=20 + t) // 2 for t, frame in enumerate(drifting())]
    points = np.random.default_rng(2).uniform(8, 56, (30, 2))
    plain = predict(color_model(occlusion=4.0, refine=None), video, {0: points})
    found = predict(color_model(occlusion=4.0, refine_from='given'), video, {0: points})
    assert 0.1 < plain.pred_occluded[1:].mean() < 0.9
    assert (plain.pred_points != found.pred_points).any()
    assert not (found.pred_occluded & ~plain.pred_occluded).any()
    assert (found.pred_occluded == plain.pred_occluded).mean() > 0.5


def test_masks_are_what_they_are_without():
    video, mask = drifting(4), np.zeros((64, 96), np.uint8)
    mask[20:40, 30:60] = 1
    plain, fine = (
        list(color_model(refine=refine).track(video, {0: mask}, {1: np.array([[41.3, 30.6]])})) for refine in (None, 6)
    )
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(plain, fine, strict=True))
    assert any(not np.array_equal(one.points, other.points) for one, other in zip(plain, fine, strict=True))


def test_a_step_without_its_frame_is_refused():
    tracker = Tracker(LabelPropagator(dict(name='stt_badja_fine_s8')))
    with pytest.raises(ValueError, match='give each frame along with its features'):
        tracker.step(torch.rand(4, 5, 6), (40, 48), points=np.array([[3.0, 4.0]]))
