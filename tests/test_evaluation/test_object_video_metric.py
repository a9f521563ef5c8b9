"""J and F of long videos: which frames count, how they go over time, and where they are those of other metrics."""

import csv
import json

import numpy as np
import pytest
from tiny_data import make_davis, make_object_videos, make_sav, moving_shapes

from stt_mm.datasets import DAVIS, LVOS, MOSE, SAV
from stt_mm.errors import InputError
from stt_mm.evaluation.functional.davis import boundary_measure, region_similarity
from stt_mm.evaluation.functional.over_time import parts_of, variation
from stt_mm.evaluation.metrics import DAVISMetric, ObjectVideoMetric
from stt_mm.utils.frame_masks import FrameMasks


def predicted(sample, shift=2):
    """A data sample of a model that is so many pixels off."""
    ids = [np.zeros(sample.original_size, np.uint8) if frame is None else frame.ids() for frame in sample.truth]
    masks = np.roll(np.stack(ids), shift, axis=2)
    return dict(sample.to_dict(), pred_masks=masks, protocol=dict(name='masks', version=1))


def evaluated(metric, dataset, shift=2):
    for index in range(len(dataset)):
        metric.process(None, [predicted(dataset[index]['data_samples'], shift + index)])
    return metric.evaluate(len(dataset))


def by_hand(sample, masks, number, times):
    pairs = [(masks[t] == number, sample.truth[t].objects[number]()) for t in times]
    return np.array([[float(measure(*pair)) for pair in pairs] for measure in (region_similarity, boundary_measure)])


def test_where_all_objects_are_there_from_the_start_it_is_the_score_of_davis(tmp_path):
    make_davis(tmp_path / 'davis', num_videos=2)
    (tmp_path / 'mose' / 'train').mkdir(parents=True)
    for kind in ('JPEGImages', 'Annotations'):
        (tmp_path / 'davis' / kind / '480p').rename(tmp_path / 'mose' / 'train' / kind)
        (tmp_path / 'davis' / kind / '480p').symlink_to(tmp_path / 'mose' / 'train' / kind)
    mose, davis = MOSE(str(tmp_path / 'mose'), split='train'), DAVIS(str(tmp_path / 'davis'))
    found = evaluated(ObjectVideoMetric(), mose)
    metric = DAVISMetric()
    for index in range(2):
        sample = davis[index]['data_samples'].to_dict()
        masks = predicted(mose[index]['data_samples'], 2 + index)['pred_masks']
        metric.process(None, [dict(sample, pred_masks=masks, protocol=dict(name='masks', version=1))])
    expected = metric.evaluate(2)
    assert 0.1 < expected['J-Mean'] < 0.95
    for key in ('J&F-Mean', 'J-Mean', 'F-Mean'):
        assert found[key] == pytest.approx(expected[key], abs=1e-12)


def test_lvos_counts_the_given_frame_and_every_object_from_it_on(tmp_path):
    make_object_videos(tmp_path, num_frames=9, births=(0, 3))
    dataset = LVOS(str(tmp_path))
    metric = ObjectVideoMetric(str(tmp_path / 'out'), given_frame=True, last_frame=True)
    found = evaluated(metric, dataset)
    values = []
    for index in range(2):
        sample = dataset[index]['data_samples']
        masks = predicted(sample, 2 + index)['pred_masks']
        values += [by_hand(sample, masks, 1, range(8)), by_hand(sample, masks, 2, range(3, 8))]
    means = np.array([part.mean(axis=1) for part in values]).mean(axis=0)
    assert found['J-Mean'] == pytest.approx(means[0], abs=1e-12)
    assert found['F-Mean'] == pytest.approx(means[1], abs=1e-12)
    assert found['J&F-Mean'] == pytest.approx(means.mean(), abs=1e-12)
    assert found['V-Mean'] == pytest.approx(np.mean([part.mean(axis=0).std() for part in values]), abs=1e-12)
    content = json.loads((tmp_path / 'out' / 'objects_results.json').read_text())
    assert [row['objects'] for row in content['over_time']] == [4] * 4
    alone = ObjectVideoMetric(given_frame=True, last_frame=True)
    sample = predicted(dataset[0]['data_samples'])
    alone.process(None, [dict(sample, objects={1: sample['objects'][1]})])
    first = alone.results[0]['record']['objects']['1']['parts']
    assert np.mean(first[0]) == pytest.approx(values[0].mean(axis=0)[:2].mean(), abs=1e-12)
    assert np.mean(first[3]) == pytest.approx(values[0].mean(axis=0)[6:].mean(), abs=1e-12)
    assert found['J&F-Decay'] == content['over_time'][0]['J&F'] - content['over_time'][3]['J&F']
    with open(tmp_path / 'out' / 'objects_over_time.csv') as file:
        rows = list(csv.DictReader(file))
    assert [float(row['J&F']) for row in rows] == [row['J&F'] for row in content['over_time']]
    assert [(row['from'], row['to']) for row in rows] == [
        ('0.0', '0.25'),
        ('0.25', '0.5'),
        ('0.5', '0.75'),
        ('0.75', '1.0'),
    ]


def test_unseen_videos_have_a_mean_of_their_own(tmp_path):
    make_object_videos(tmp_path, births=(0, 0))
    (tmp_path / 'unseen.txt').write_text('video1\n')
    found = evaluated(ObjectVideoMetric(unseen_videos=str(tmp_path / 'unseen.txt')), MOSE(str(tmp_path)))
    four = [found[key] for key in ('J-Seen', 'F-Seen', 'J-Unseen', 'F-Unseen')]
    assert found['J-Seen'] != found['J-Unseen']
    assert found['J&F-Mean'] == pytest.approx(np.mean(four), abs=1e-12)


def test_objects_of_sav_are_scored_each_by_itself(tmp_path):
    make_sav(tmp_path)
    sample = SAV(str(tmp_path))[0]['data_samples']
    metric = ObjectVideoMetric()
    # The truth itself: one map of ids cannot hold it, where objects overlap, as masks of each object can.
    metric.process(None, [predicted(sample, 0)])
    metric.process(None, [dict(sample.to_dict(), video_id='own', pred_objects=sample.truth, protocol={})])
    one, own = (entry['record']['objects'] for entry in metric.results)
    # Of object 1 frames 4 and 8 count, of object 2, which is given in frame 4, frame 8.
    assert (own['1']['frames'], own['2']['frames']) == (2, 1)
    assert own['1']['J'] == own['2']['J'] == one['2']['J'] == 1
    assert one['1']['J'] < 1
    hidden = [None if frame is None else FrameMasks(frame.name, None, frame.size, {}) for frame in sample.truth]
    metric.process(None, [dict(sample.to_dict(), pred_objects=hidden, protocol={})])
    assert metric.results[2]['record']['objects']['1']['J'] == 0


def test_an_object_that_left_counts(tmp_path):
    _, masks = moving_shapes(5, (40, 60), 1)
    masks[2:] = 0
    root = make_object_videos(tmp_path, num_videos=1, num_frames=5, size=(40, 60), births=(0,))
    sample = MOSE(str(root))[0]['data_samples']
    truth = [FrameMasks('', t, (40, 60), {1: lambda t=t: masks[t] > 0}) for t in range(5)]
    metric = ObjectVideoMetric()
    found = dict(predicted(sample, 0), truth=truth)
    metric.process(None, [dict(found, pred_masks=masks)])
    metric.process(None, [dict(found, pred_masks=np.repeat(masks[:1], 5, axis=0))])
    assert [entry['record']['objects']['1']['frames'] for entry in metric.results] == [3, 3]
    assert metric.results[0]['record']['objects']['1']['J'] == 1
    # Frames 2 and 3 show it though it has left.
    assert metric.results[1]['record']['objects']['1']['J'] < 1 / 3 + 1e-9


def test_what_cannot_be_scored_is_told(tmp_path, caplog):
    make_object_videos(tmp_path, every=99, births=(0, 0))
    for options in ({}, dict(given_frame=True, last_frame=True)):
        assert evaluated(ObjectVideoMetric(**options), MOSE(str(tmp_path))) == {}
    with pytest.raises(InputError, match='parts must be a whole number of at least 2'):
        ObjectVideoMetric(parts=1)
    with pytest.raises(InputError, match='scores no points'):
        ObjectVideoMetric(dump_points='x')


def test_parts_and_variation():
    values = np.array([[1.0, 0.8, 0.6, 0.4, 0.2], [0.0, 0.2, 0.4, 0.6, 0.8]])
    assert variation(values) == 0
    assert parts_of(values, 2) == [pytest.approx((0.8, 0.2)), pytest.approx((0.3, 0.7))]
    assert parts_of(values[:, :2], 4) == [(1.0, 0.0), None, (0.8, 0.2), None]
    for wrong in (np.zeros((2, 0)), np.zeros(3)):
        with pytest.raises(InputError, match='at least one frame'):
            parts_of(wrong, 4)
