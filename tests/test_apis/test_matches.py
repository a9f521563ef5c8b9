from pathlib import Path

import numpy as np
import pytest
from tiny_data import texture

from stt_mm.apis import VideoPropagator, find_matches

CONFIG = Path(__file__).parents[2] / 'configs' / 'eval' / 'davis_color.py'
SIZE, STRIDE = (96, 128), 4
POINTS = np.array([[50.0, 41.0], [90.0, 60.0]])


def model(**protocol):
    changes = dict(dict(name='stt_davis_s8', short_side=SIZE[0], radius=4), **protocol)
    options = {f'model.propagator.protocol.{key}': value for key, value in changes.items()}
    return VideoPropagator(CONFIG, device='cpu', options={**options, 'model.backbone.stride': STRIDE}).model


def shifted(dx, dy):
    """A reference frame, and it moved by whole pixels."""
    frame = texture(SIZE, 0)
    return frame, np.roll(frame, (dy, dx), (0, 1))


def centre(points):
    """Of the cells that points lie in."""
    return np.floor((points + 0.5) / STRIDE) * STRIDE + STRIDE / 2 - 0.5


def test_a_match_is_where_the_shift_came_from():
    reference, target = shifted(8, -12)
    found = find_matches(model(), reference, target, POINTS)
    assert np.array_equal(found.points, centre(POINTS) - (8, -12))
    assert found.weights.shape == (2, *SIZE)
    peaks = [np.unravel_index(heat.argmax(), SIZE)[::-1] for heat in found.weights]
    assert np.abs(np.array(peaks) - found.points).max() <= 1
    assert found.gathered is None


def test_the_whole_frame_holds_what_the_window_does_not():
    reference, target = shifted(24, 0)
    near = find_matches(model(), reference, target, POINTS)
    assert (np.abs(near.points - centre(POINTS)) <= 4 * STRIDE).all()
    far = find_matches(model(), reference, target, POINTS, whole_frame=True)
    assert np.array_equal(far.points, centre(POINTS) - (24, 0))


def test_compact_weights_stand_beside_those_of_the_softmax():
    reference, target = shifted(8, -12)
    compact = model(name='liir_davis', temperature=0.05)
    found = find_matches(compact, reference, target, POINTS)
    plain = find_matches(model(name='liir_davis', temperature=0.05, vote='softmax'), reference, target, POINTS)
    assert plain.gathered is None
    assert np.array_equal(plain.weights, found.weights)
    assert found.gathered.shape == found.weights.shape

    # Gaussians spread less than what they are made of.
    def spread(heat):
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        return (heat * ((x - found.points[0, 0]) ** 2 + (y - found.points[0, 1]) ** 2)).sum() / heat.sum()

    assert spread(found.gathered[0]) < spread(found.weights[0])


def test_equal_frames_have_equal_colours_and_what_is_padded_is_cut_off():
    frame = texture((90, 125), 0)
    found = find_matches(model(short_side=None, pad=32), frame, frame, np.array([[124.0, 89.0], [0, 0]]))
    assert found.weights.shape == (2, 90, 125)
    assert found.target.shape == (90, 125, 3)
    assert found.target.dtype == np.uint8
    assert np.array_equal(found.target, found.reference)
    assert np.ptp(found.target, (0, 1)).min() > 200
    assert np.array_equal(found.points, [(124, 89), (1.5, 1.5)])


@pytest.mark.parametrize(
    ('size', 'point', 'message'),
    [
        (SIZE, (128, 3), r'Point 128,3 of the target frame lies outside .* where x is 0 to 127 and y is 0 to 95'),
        (SIZE, (float('nan'), 3), r'Points of the target frame must be \[J, 2\] finite numbers'),
        ((96, 120), (3, 3), r'must have one size, got \[96, 120\] and \[96, 128\]'),
    ],
)
def test_what_does_not_fit_is_refused(size, point, message):
    with pytest.raises(ValueError, match=message):
        find_matches(model(), texture(size, 0), texture(SIZE, 1), np.array([point]))


@pytest.mark.parametrize(
    ('change', 'points', 'message'),
    [
        (lambda frame: frame / 255, [[3, 3]], r'reference frame must be .* uint8 \[H, W, 3\], RGB, got float64'),
        (lambda frame: frame[:, :, 0], [[3, 3]], r'reference frame must be .*, got uint8 \[96, 128\]'),
        (lambda frame: frame.tolist(), [[3, 3]], r'reference frame must be .*, got list'),
        (lambda frame: frame, [], 'nothing to match'),
        (lambda frame: frame, [[3]], r'Points of the target frame must be \[J, 2\]'),
    ],
)
def test_what_is_no_frame_and_no_point_is_refused(change, points, message):
    with pytest.raises(ValueError, match=message):
        find_matches(model(), change(texture(SIZE, 0)), texture(SIZE, 1), points)
