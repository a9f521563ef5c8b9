"""What confidence and one correction are worth: the numbers of the tool, against plain ones."""

import numpy as np
import pytest
from test_engine.toy_runs import tool
from tiny_data import make_davis

from stt_mm.apis import VideoPropagator
from stt_mm.evaluation.functional import region_similarity
from stt_mm.utils import read_mask


@pytest.fixture(scope='module')
def doubt():
    return tool('analysis/doubt')


def test_the_area_under_the_curve_counts_pairs(doubt):
    generator = np.random.default_rng(0)
    scores, lost = generator.integers(0, 5, 60) / 4, generator.random(60) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in scores[~lost] for b in scores[lost]]
    assert doubt.auc(scores, lost) == pytest.approx(np.mean(pairs))
    assert np.isnan(doubt.auc([0.5], [False]))
    assert np.isnan(doubt.auc([0.5], [True]))


def test_a_correction_is_given_where_doubt_is_greatest(doubt, tmp_path):
    make_davis(tmp_path, num_videos=1, num_frames=7)
    frames, masks = (sorted(tmp_path.glob(f'{kind}/480p/*/*')) for kind in ('JPEGImages', 'Annotations'))
    small = {'model.propagator.protocol.short_side': 48}
    propagator = VideoPropagator('eval/davis_color', device='cpu', options=small)
    found = doubt.examine(propagator, [*map(str, frames)], [*map(str, masks)])
    plain = list(propagator.stream(frames[0].parent, read_mask(masks[0])))
    assert found['frame'] == min(range(1, 7), key=lambda t: plain[t].least_confidence)
    given = {0: read_mask(masks[0]), found['frame']: read_mask(masks[found['frame']])}
    rest = [t for t in range(1, 7) if t != found['frame']]
    truths, ids = [read_mask(path) for path in masks], np.unique(read_mask(masks[0]))[1:].tolist()
    for key, results in (
        ('before', plain),
        ('forward', list(propagator.stream(frames[0].parent, given))),
        ('both', list(propagator.stream(frames[0].parent, given, direction='both'))),
    ):
        values = [region_similarity(results[t].mask == k, truths[t] == k) for t in rest for k in ids]
        assert found[key] == pytest.approx(np.mean(values))
    assert len(found['confidence']) == len(found['lost']) == 6 * len(ids)
    text = doubt.summary({'video0': found})
    assert f'video0 ({sum(found["lost"])} of {6 * len(ids)} lost, frame {found["frame"]})' in text
    assert f'J {found["before"]:.4f}, corrected {found["forward"]:.4f}, both ways {found["both"]:.4f}' in text
