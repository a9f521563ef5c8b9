"""TAP-Vid and BADJA through MMEngine's evaluator: sizes, lost points, means, files."""

import csv
import json

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from tiny_data import make_badja, make_tap_vid

from stt_mm.datasets import BADJA, TAPVid
from stt_mm.evaluation.functional.tap_vid import MEASURES
from stt_mm.evaluation.metrics import BADJAMetric, TAPVidMetric
from stt_mm.evaluation.metrics.records import completed
from stt_mm.registry import METRICS
from stt_mm.utils import read_mask

PROTOCOL = dict(name='stt_tapvid_s8', version=1)


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def evaluate(kind, samples, **options):
    evaluator = Evaluator(METRICS.build(dict(type=kind, **options)))
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(len(samples))


def answers(dataset, change=lambda points: points, **fields):
    """The truth as predictions, changed."""
    samples = []
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        sample.pred_points = change(sample.points.copy())
        if 'occluded' in sample:
            sample.pred_occluded = sample.occluded.copy()
        for key, value in fields.items():
            setattr(sample, key, value)
        sample.set_metainfo(dict(protocol=PROTOCOL))
        samples.append(sample)
    return samples


@pytest.mark.parametrize('mode', ['first', 'strided'])
@pytest.mark.parametrize('size', [(256, 256), None, (64, 512)])
def test_tap_vid_counts_pixels_of_256_whatever_the_frames(size, mode, tmp_path):
    root = str(make_tap_vid(tmp_path, num_frames=7))
    dataset = TAPVid(root, query_mode=mode, size=size)
    perfect = evaluate('TAPVidMetric', answers(dataset))
    assert list(perfect) == [*MEASURES, 'undefined']
    assert perfect == {**dict.fromkeys(MEASURES, 1.0), 'undefined': 0}
    height, width = size or (60, 80)
    # 3 pixels of 256 to the right: beyond 1 and 2, within 4, 8, 16.
    shifted = evaluate('TAPVidMetric', answers(dataset, lambda points: points + np.array([3 * width / 256, 0])))
    assert shifted['average_pts_within_thresh'] == pytest.approx(0.6)
    assert shifted['pts_within_2'] == 0
    assert shifted['pts_within_4'] == 1
    # Of 5 pixels up and down, 3 of each are another distance in a picture of another shape.
    higher = evaluate('TAPVidMetric', answers(dataset, lambda points: points + np.array([0, 5 * height / 256])))
    assert (higher['pts_within_4'], higher['pts_within_8']) == (0, 1)


def test_lost_points_are_nowhere_and_hidden(tmp_path):
    """Even for truths in the corner, next to where lost points are written down."""

    def corner(points):
        points[:] = -1
        return points

    samples = answers(TAPVid(str(make_tap_vid(tmp_path)), size=None), corner)
    for sample in samples:
        sample.set_metainfo(dict(points=np.zeros_like(sample.points), occluded=np.zeros_like(sample.occluded)))
        sample.pred_occluded[:] = False
    metrics = evaluate('TAPVidMetric', samples)
    assert metrics == {**dict.fromkeys(MEASURES, 0.0), 'undefined': 0}
    for sample in samples:
        del sample.pred_occluded
    assert evaluate('TAPVidMetric', samples) == metrics


def test_without_an_answer_about_hiding_points_that_are_found_count_as_seen(tmp_path):
    samples = answers(TAPVid(str(make_tap_vid(tmp_path)), query_mode='strided'))
    for sample in samples:
        del sample.pred_occluded
        sample.pred_points[2, 1] = -1
    counted = [np.arange(len(s.points))[:, None] != s.query_frames for s in samples]
    said = [(s.pred_points < 0).any(2) for s in samples]
    right = [(s.occluded == one)[c].mean() for s, one, c in zip(samples, said, counted, strict=True)]
    assert evaluate('TAPVidMetric', samples)['occlusion_accuracy'] == pytest.approx(np.mean(right))


def test_a_measure_that_a_video_does_not_define_is_left_out_and_counted(tmp_path):
    samples = answers(TAPVid(str(make_tap_vid(tmp_path))), lambda points: points + 1.5)
    samples[0].set_metainfo(dict(occluded=np.ones_like(samples[0].occluded)))
    samples[0].pred_occluded[:] = True
    both, alone = (evaluate('TAPVidMetric', part) for part in (samples, samples[1:]))
    assert both.pop('undefined') == 1
    assert alone.pop('undefined') == 0
    assert both == pytest.approx(alone | dict(occlusion_accuracy=(1 + alone['occlusion_accuracy']) / 2))
    assert evaluate('TAPVidMetric', samples[:1]) == dict(occlusion_accuracy=1.0, undefined=1)


def test_files_of_tap_vid(tmp_path):
    samples = answers(TAPVid(str(make_tap_vid(tmp_path))), lambda points: points + 1.5)
    out, points = tmp_path / 'out', tmp_path / 'points'
    metrics = evaluate('TAPVidMetric', samples, out_dir=str(out), dump_points=str(points))
    content = json.loads((out / 'tap_vid_results.json').read_text())
    assert content['global'] == metrics
    assert list(content['per_video']) == ['video0', 'video1']
    videos, queries = rows(out / 'tap_vid_per_video.csv'), rows(out / 'tap_vid_per_query.csv')
    for measure in MEASURES:
        assert np.mean([float(row[measure]) for row in videos]) == pytest.approx(metrics[measure])
    assert [(row['video'], row['query'], row['frame']) for row in queries] == [
        (f'video{v}', str(k), str(k)) for v in range(2) for k in range(3)
    ]
    listed = json.loads((points / 'video1' / 'points.json').read_text())
    assert [row['occluded'] for row in listed] == samples[1].pred_occluded.tolist()
    assert listed[4]['points'][2] == pytest.approx(samples[1].pred_points[4, 2].tolist(), abs=0.006)
    assert completed(str(out), 'tap_vid', '', str(points)) == ['video0', 'video1']


def test_badja_scores_a_tree_exactly(tmp_path):
    """Joints just within and beyond the threshold of each frame, at a size of another shape than the scored one."""
    dataset = BADJA(str(make_badja(tmp_path / 'BADJA', num_frames=5, size=(60, 96))))
    assert evaluate('BADJAMetric', answers(dataset)) == {'PCK@0.2': 100.0, 'lost joints': 0}
    samples = answers(dataset)
    for sample in samples:
        for t in (2, 4):
            mask = read_mask(sample.mask_paths[t])
            across, along = np.arange(320) * 60 // 320, np.arange(512) * 96 // 512
            limit = 0.2 * np.sqrt(np.isin(mask[np.ix_(across, along)], (1, 3, 5, 7)).sum())
            assert limit > 0
            # Joint 0 is just within, 1 just beyond along y; 4 (number 13 of 37) is given up; the first frame is free.
            sample.pred_points[t, 0, 0] += (limit - 1e-3) * 96 / 512
            sample.pred_points[t, 1, 1] += (limit + 1e-3) * 60 / 320
            sample.pred_points[t, 4] = -1
        sample.pred_points[0] += 50
    out = tmp_path / 'out'
    metrics = evaluate('BADJAMetric', samples, out_dir=str(out))
    # 19 joints are visible in each of two frames (number 12 is not), two of them wrong.
    assert metrics == {'PCK@0.2': pytest.approx(100 * 17 / 19), 'lost joints': 4}
    joints = rows(out / 'badja_per_joint.csv')
    assert [joint['PCK@0.2'] for joint in joints[:5]] == ['100.0', '0.0', '100.0', '', '0.0']
    assert [row['video'] for row in rows(out / 'badja_per_video.csv')] == ['video0', 'video1']


def test_badja_is_the_mean_of_the_videos_not_of_the_joints(tmp_path):
    samples = answers(BADJA(str(make_badja(tmp_path / 'BADJA'))))
    truth = samples[0].points.copy()
    truth[1:, 1:] = np.nan
    samples[0].set_metainfo(dict(points=truth))
    samples[0].pred_points[1:] = -1
    assert evaluate('BADJAMetric', samples) == {'PCK@0.2': 50.0, 'lost joints': 3}


@pytest.mark.parametrize('kind', [TAPVidMetric, BADJAMetric])
def test_predictions_that_do_not_fit_name_their_video(kind, tmp_path):
    data = TAPVid(str(make_tap_vid(tmp_path))) if kind is TAPVidMetric else BADJA(str(make_badja(tmp_path / 'b')))
    (sample, _) = answers(data)
    whole = sample.pred_points
    sample.pred_points = whole[:, :-1]
    with pytest.raises(
        ValueError, match=r'Video video0: expected pred_points \[\d, \d+, 2\], as the ground truth, got'
    ):
        kind().process(None, [sample.to_dict()])
    del sample.pred_points
    with pytest.raises(ValueError, match='Video video0: the model returned no pred_points'):
        kind().process(None, [sample.to_dict()])
    with pytest.raises(ValueError, match=f'{kind.__name__} scores no masks'):
        kind(dump_masks=str(tmp_path / 'masks'))
