import csv
import json
import logging

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement
from scipy.io import loadmat

from stt_mm.evaluation.metrics import DAVISMetric, JHMDBMetric, VIPInstanceMetric, VIPMetric, YouTubeVOSMetric
from stt_mm.evaluation.metrics.records import completed
from stt_mm.registry import METRICS
from stt_mm.utils.mat import read_joint_positions

VIDEOS = ('clap/c0', 'walk/w0')


def sample(data, video_id, **fields):
    arrays = np.load(data / 'jhmdb' / 'keypoints.npz')
    predictions = arrays[f'{video_id}/predictions']
    element = BaseDataElement(**dict(dict(pred_points=predictions), **fields))
    names = [f'{t + 1:05d}' for t in range(len(predictions))]
    truths = arrays[f'{video_id}/truths'].astype(np.float32)
    protocol = dict(name='stt_jhmdb_s8', version=1)
    element.set_metainfo(
        dict(video_id=video_id, frame_names=names, original_size=(240, 320), points=truths, protocol=protocol)
    )
    return element


def evaluate(data, videos=VIDEOS, **kwargs):
    evaluator = Evaluator(METRICS.build(dict(type='JHMDBMetric', **kwargs)))
    for video_id in videos:
        evaluator.process([sample(data, video_id)])
    return evaluator.evaluate(len(videos))


def test_both_forms_equal_their_scripts(data):
    metrics = evaluate(data)
    rates = {'STT': (61.39194139, 90.84249084, 100, 100, 100), 'CRW': (54.44444444, 89.19191919, 100, 100, 100)}
    expected = {}
    for variant, lost in (('STT', 6), ('CRW', 5)):
        expected |= {f'{variant}/PCK@0.{n}': rate for n, rate in enumerate(rates[variant], start=1)}
        expected |= {f'{variant}/lost joints': lost, f'{variant}/joints never scored': 0}
    assert list(metrics) == list(expected)
    assert metrics == pytest.approx(expected, abs=1e-8)


def test_records_are_whole_numbers(data):
    metric = JHMDBMetric()
    metric.process(None, [sample(data, 'walk/w0').to_dict()])
    record = metric.results[0]['record']
    assert set(record) == {'STT', 'CRW'}
    assert np.shape(record['CRW']['hits']) == (5, 15)
    assert np.asarray(record['CRW']['hits']).dtype == np.asarray(record['CRW']['scored']).dtype == np.int64


def test_order_and_split_of_the_videos_do_not_matter(data):
    """Two metrics as on two ranks, with a video that both have."""
    whole = evaluate(data)
    assert evaluate(data, VIDEOS[::-1]) == whole
    halves = [JHMDBMetric(), JHMDBMetric()]
    halves[0].process(None, [sample(data, 'walk/w0').to_dict()])
    halves[1].process(None, [sample(data, video_id).to_dict() for video_id in ('clap/c0', 'walk/w0')])
    assert JHMDBMetric().compute_metrics(halves[1].results + halves[0].results) == whole


def test_files(data, tmp_path):
    metrics = evaluate(data, out_dir=str(tmp_path))
    content = json.loads((tmp_path / 'jhmdb_results.json').read_text())
    assert content['global'] == metrics
    with open(tmp_path / 'jhmdb_per_joint.csv', newline='') as file:
        joints = list(csv.DictReader(file))
    assert len(joints) == 15
    assert np.mean([float(row['CRW/PCK@0.1']) for row in joints]) == pytest.approx(metrics['CRW/PCK@0.1'])
    with open(tmp_path / 'jhmdb_per_video.csv', newline='') as file:
        videos = list(csv.DictReader(file))
    assert [row['video'] for row in videos] == list(VIDEOS)
    alone = evaluate(data, ['walk/w0'])
    assert {key: float(videos[1][key]) for key in alone if 'never' not in key} == pytest.approx(
        {key: value for key, value in alone.items() if 'never' not in key}
    )


def test_a_joint_that_is_never_scored_is_reported(data, tmp_path):
    metric = JHMDBMetric(out_dir=str(tmp_path))
    lost = np.load(data / 'jhmdb' / 'keypoints.npz')['walk/w0/predictions'].copy()
    full = evaluate(data, ['walk/w0'])
    lost[:, 3] = -1
    metric.process(None, [sample(data, 'walk/w0', pred_points=lost).to_dict()])
    metrics = metric.evaluate(1)
    for variant, frames in (('STT', 7), ('CRW', 6)):
        assert metrics[f'{variant}/joints never scored'] == full[f'{variant}/joints never scored'] + 1
        assert metrics[f'{variant}/lost joints'] == full[f'{variant}/lost joints'] + frames
    with open(tmp_path / 'jhmdb_per_joint.csv', newline='') as file:
        assert list(csv.DictReader(file))[3] == {
            'joint': '4',
            **{f'{variant}/PCK@0.{n}': '' for variant in ('STT', 'CRW') for n in range(1, 6)},
        }


def test_a_video_whose_joints_are_all_lost(data):
    metric = JHMDBMetric()
    metric.process(None, [sample(data, 'walk/w0', pred_points=np.full((7, 15, 2), -1.0)).to_dict()])
    assert metric.evaluate(1) == {
        'STT/lost joints': 105,
        'STT/joints never scored': 15,
        'CRW/lost joints': 90,
        'CRW/joints never scored': 15,
    }


def test_errors_name_the_video(data):
    with pytest.raises(ValueError, match=r'Video walk/w0: .*got \[7, 14, 2\] and \[7, 15, 2\]'):
        JHMDBMetric().process(None, [sample(data, 'walk/w0', pred_points=np.zeros((7, 14, 2))).to_dict()])
    masks = sample(data, 'walk/w0').to_dict()
    del masks['pred_points']
    with pytest.raises(ValueError, match=r'Video walk/w0: the model returned no pred_points'):
        JHMDBMetric().process(None, [masks])
    metric = JHMDBMetric()
    metric.process(None, [sample(data, 'walk/w0').to_dict()])
    fewer = sample(data, 'clap/c0')
    fewer.pred_points = fewer.pred_points[:, :4]
    fewer.set_metainfo(dict(points=fewer.points[:, :4]))
    metric.process(None, [fewer.to_dict()])
    with pytest.raises(ValueError, match='same joints, got 4 in clap/c0 and 15 in walk/w0'):
        metric.evaluate(2)


def test_the_log_has_a_table_for_each_form(data, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel(logging.INFO)
    metrics = evaluate(data)
    logger.removeHandler(caplog.handler)
    lines = caplog.text.split('2 videos\n')[1].splitlines()
    names = [f'PCK@0.{n}' for n in range(1, 6)]
    for number, variant in enumerate(('STT', 'CRW')):
        head, row = lines[2 * number : 2 * number + 2]
        assert head.split() == [*names, 'lost', 'joints', 'joints', 'never', 'scored']
        assert row.split() == [
            variant,
            *(f'{metrics[f"{variant}/{name}"]:.4f}' for name in (*names, 'lost joints', 'joints never scored')),
        ]


def test_tables_have_each_joint_and_each_video_in_both_forms(data, tmp_path):
    evaluate(data, ['walk/w0'], out_dir=str(tmp_path))
    record = json.loads((tmp_path / 'videos' / 'jhmdb' / 'walk' / 'w0.json').read_text())['record']
    columns = [f'{variant}/PCK@0.{n}' for variant in ('STT', 'CRW') for n in range(1, 6)]
    with open(tmp_path / 'jhmdb_per_joint.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    for joint, row in enumerate(rows):
        rates = [
            100 * record[variant]['hits'][n][joint] / record[variant]['scored'][joint]
            for variant in ('STT', 'CRW')
            for n in range(5)
        ]
        assert {key: float(value) for key, value in row.items()} == pytest.approx(
            dict(zip(columns, rates, strict=True), joint=joint + 1)
        )
    with open(tmp_path / 'jhmdb_per_video.csv', newline='') as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ['video', *columns[:5], 'STT/lost joints', *columns[5:], 'CRW/lost joints']
    assert [row[f'{variant}/lost joints'] for variant in ('STT', 'CRW')] == [
        str(record[variant]['lost']) for variant in ('STT', 'CRW')
    ]


def test_joints_are_written_as_json_and_as_jhmdb_has_them(data, tmp_path):
    out, joints = tmp_path / 'out', tmp_path / 'joints'
    evaluate(data, out_dir=str(out), dump_points=str(joints))
    for video_id in VIDEOS:
        points = sample(data, video_id).pred_points.astype(np.float64)
        lost = (points < 0).any(-1)
        points[lost] = np.nan
        path = joints / video_id / 'joint_positions.mat'
        matlab = loadmat(path)['pos_img']
        assert np.allclose(matlab, points.transpose(2, 1, 0) + 1, equal_nan=True)
        assert np.allclose(read_joint_positions(path), points, equal_nan=True, atol=1e-4)
        rows = json.loads((joints / video_id / 'points.json').read_text())
        assert [(row['index'], row['name']) for row in rows] == [(t, f'{t + 1:05d}') for t in range(len(points))]
        read = np.array([[(np.nan, np.nan) if p is None else p for p in row['points']] for row in rows])
        assert np.allclose(read, points, equal_nan=True, atol=0.006)
    assert completed(str(out), 'jhmdb', '', str(joints)) == list(VIDEOS)
    (joints / VIDEOS[0] / 'points.json').unlink()
    assert completed(str(out), 'jhmdb', '', str(joints)) == [VIDEOS[1]]


def test_joints_are_not_written_as_masks(tmp_path):
    with pytest.raises(ValueError, match='JHMDBMetric scores no masks'):
        JHMDBMetric(dump_masks=str(tmp_path))
    for other in (DAVISMetric, YouTubeVOSMetric, VIPMetric, VIPInstanceMetric):
        with pytest.raises(ValueError, match=rf'{other.__name__} scores no points.*\(--dump-points\)'):
            other(dump_points=str(tmp_path))
