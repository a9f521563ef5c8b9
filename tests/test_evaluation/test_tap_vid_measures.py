"""The measures of TAP-Vid against those of its public code, and against loops written from the definition."""

import json
import math

import numpy as np
import pytest

from stt_mm.evaluation.functional import tap_vid
from stt_mm.evaluation.functional.tap_vid import MEASURES, THRESHOLDS

NAN = math.nan


def test_measures_equal_the_public_code(data):
    golden = np.load(data / 'points' / 'tapvid_metric.npz')
    assert tuple(golden['names']) == MEASURES
    cases = json.loads(str(golden['cases']))
    assert {case['mode'] for case in cases} == {'first', 'strided'}
    for number, case in enumerate(cases):
        names = ('gt_occluded', 'gt_tracks', 'pred_occluded', 'pred_tracks')
        arrays = [golden[f'{number:02d}_{name}'] for name in names]
        frames = golden[f'{number:02d}_query_points'][:, 0]
        for per_track, name in ((False, 'expected'), (True, 'expected_per_track')):
            found = tap_vid(frames, *arrays, case['mode'], per_track)
            assert tuple(found) == MEASURES
            expected = golden[f'{number:02d}_{name}']
            np.testing.assert_allclose(list(found.values()), expected, rtol=0, atol=1e-12, err_msg=str(case))


def divide(part, whole):
    return part / whole if whole else NAN


def slow(frames, occluded, tracks, pred_occluded, pred_tracks, mode):
    """One point after the other."""
    agree = scored = visible = 0
    near, right, wrong = ([0] * 5 for _ in range(3))
    for n, born in enumerate(frames):
        for t in range(len(occluded[n])):
            if t == born or (mode == 'first' and t < born):
                continue
            scored += 1
            seen, said = not occluded[n][t], not pred_occluded[n][t]
            agree += seen == said
            visible += seen
            squared = sum((a - b) ** 2 for a, b in zip(tracks[n][t], pred_tracks[n][t], strict=True))
            for k, threshold in enumerate(THRESHOLDS):
                close = squared < threshold**2
                near[k] += seen and close
                right[k] += seen and said and close
                wrong[k] += said and not (seen and close)
    jaccard = [divide(a, visible + b) for a, b in zip(right, wrong, strict=True)]
    within = [divide(a, visible) for a in near]
    return [divide(agree, scored), sum(jaccard) / 5, sum(within) / 5, *jaccard, *within]


def random_case(rng):
    """Whole and half pixels, so that distances of exactly a threshold are frequent, and points that are hidden."""
    queries, frames = rng.integers(1, 6), rng.integers(1, 9)
    tracks = rng.integers(0, 2 * 256, (queries, frames, 2)) / 2
    steps = rng.choice([0, 0, 0.5, 1, 2, 4, 8, 16, 16.5], (queries, frames, 2)) * rng.choice(
        [-1, 1], (queries, frames, 2)
    )
    rates = rng.choice([0, 0.2, 0.7, 1], 2)
    occluded, said = (rng.random((queries, frames)) < rate for rate in rates)
    return rng.integers(0, frames, queries), occluded, tracks, said, tracks + steps


@pytest.mark.parametrize('mode', ['first', 'strided'])
def test_measures_equal_loops(mode):
    rng = np.random.default_rng(0)
    undefined = 0
    for _ in range(500):
        case = random_case(rng)
        expected = slow(*(part.tolist() for part in case), mode)
        found = list(tap_vid(*case, mode).values())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        undefined += np.isnan(expected).any()
        alone = tap_vid(*case, mode, per_track=True)
        number = rng.integers(len(case[0]))
        one = tap_vid(*(part[number : number + 1] for part in case), mode)
        np.testing.assert_array_equal([value[number] for value in alone.values()], list(one.values()))
    assert 20 < undefined < 400


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(mode='both'), "mode must be one of 'first', 'strided', got 'both'"),
        (dict(query_frames=[0]), r'Expected query_frames \[N\].*got query_frames \[1\], occluded \[2, 3\]'),
        (dict(pred_tracks=np.zeros((2, 4, 2))), r'pred_tracks \[2, 4, 2\]'),
        (dict(occluded=np.zeros((2, 3, 1), bool)), r'occluded \[2, 3, 1\]'),
        (dict(query_frames=[0, 3]), 'query_frames must be frames of 0 to 2'),
        (dict(query_frames=[-1, 0]), 'query_frames must be frames of 0 to 2'),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    hidden, tracks = np.zeros((2, 3), bool), np.zeros((2, 3, 2))
    usual = dict(query_frames=[0, 1], occluded=hidden, tracks=tracks, pred_occluded=hidden, pred_tracks=tracks)
    with pytest.raises(ValueError, match=message):
        tap_vid(**dict(usual, mode='first') | changes)
