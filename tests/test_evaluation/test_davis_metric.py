import csv
import json
import logging

import numpy as np
import pytest
import torch
import torch.multiprocessing
from davis_predictions import predicted, run_rank
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from tiny_data import make_davis

from stt_mm.datasets import DAVIS
from stt_mm.evaluation.functional import evaluate_video
from stt_mm.evaluation.metrics import DAVISMetric
from stt_mm.registry import METRICS
from stt_mm.utils import read_mask, write_mask

KEYS = ['J&F-Mean', 'J-Mean', 'J-Recall', 'J-Decay', 'F-Mean', 'F-Recall', 'F-Decay']


@pytest.fixture
def root(tmp_path):
    """Three videos; the first of them with three objects, the others with two."""
    root = make_davis(tmp_path / 'davis', num_videos=3)
    for path in (root / 'Annotations' / '480p' / 'video0').iterdir():
        mask = read_mask(path)
        mask[60:, 80:] = 3
        write_mask(path, mask)
    return root


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def evaluate(root, indices=(0, 1, 2), **kwargs):
    evaluator = Evaluator(DAVISMetric(**kwargs))
    dataset = DAVIS(str(root))
    for index in indices:
        evaluator.process([predicted(dataset, index)])
    return evaluator.evaluate(len(dataset))


def by_hand(root):
    """Global numbers from all objects of all videos."""
    dataset, rows = DAVIS(str(root)), []
    for index in range(3):
        sample = predicted(dataset, index)
        rows += evaluate_video(sample.pred_masks.numpy(), np.stack([read_mask(path) for path in sample.mask_paths]))
    means = {key: np.mean([row[key] for row in rows]) for key in KEYS[1:]}
    return {'J&F-Mean': (means['J-Mean'] + means['F-Mean']) / 2, **means}


def test_mean_over_objects_not_videos(root, log):
    metrics = evaluate(root)
    assert list(metrics) == KEYS
    assert metrics == pytest.approx(by_hand(root), abs=1e-12)
    assert 0.1 < metrics['J-Mean'] < 0.9
    assert log.text.count('protocol davis, version 1: 3 videos, 7 objects') == 1
    assert all(f'\nvideo{index}' in log.text for index in range(3))
    assert 'prefix' not in log.text


def test_nothing_dense_is_kept(root):
    metric = METRICS.build(dict(type='DAVISMetric'))
    metric.process(None, [predicted(DAVIS(str(root)), 0).to_dict()])
    record = metric.results[0]['record']
    assert all(isinstance(value, float) for row in record['objects'] for value in row.values())


def test_repeated_videos_count_once(root):
    assert evaluate(root, indices=(0, 1, 0)) == evaluate(root, indices=(0, 1))


def test_files(root, tmp_path):
    out, dump = tmp_path / 'out', tmp_path / 'masks'
    metrics = evaluate(root, out_dir=str(out), dump_masks=str(dump))
    content = json.loads((out / 'davis_results.json').read_text())
    assert content['protocol'] == dict(name='davis', version=1, topk=10)
    assert content['global'] == metrics
    assert (content['num_videos'], content['num_objects'], content['not_scored']) == (3, 7, [])
    objects = content['per_object']
    assert list(objects) == ['video0_1', 'video0_2', 'video0_3', 'video1_1', 'video1_2', 'video2_1', 'video2_2']
    mean = np.mean([objects[f'video1_{k}']['J-Mean'] for k in (1, 2)])
    assert content['per_sequence']['video1']['J-Mean'] == pytest.approx(mean)
    for name, rows in (('sequence', content['per_sequence']), ('object', objects)):
        with open(out / f'davis_per_{name}.csv', newline='') as file:
            table = {row.pop(name.capitalize()): row for row in csv.DictReader(file)}
        assert {key: {k: float(v) for k, v in row.items()} for key, row in table.items()} == rows
    sample = predicted(DAVIS(str(root)), 2)
    for t in range(5):
        assert np.array_equal(read_mask(dump / 'video2' / f'{t:05d}.png'), sample.pred_masks[t])


def test_hidden_truth_is_dumped_but_not_scored(root, tmp_path, log):
    for t in range(1, 5):
        (root / 'Annotations' / '480p' / 'video2' / f'{t:05d}.png').unlink()
    metrics = evaluate(root, dump_masks=str(tmp_path / 'masks'))
    assert metrics == evaluate(root, indices=(0, 1))
    assert '1 of 3 videos are not scored, their truth is not known beyond the first frame: video2' in log.text
    assert len(list((tmp_path / 'masks' / 'video2').iterdir())) == 5
    assert evaluate(root, indices=(2,), out_dir=str(tmp_path / 'out')) == {}
    assert 'no video could be scored' in log.text
    content = json.loads((tmp_path / 'out' / 'davis_results.json').read_text())
    assert (content['protocol']['name'], content['global'], content['not_scored']) == ('davis', {}, ['video2'])
    assert not list((tmp_path / 'out').glob('*.csv'))


def test_2016_truth_is_one_object(tmp_path):
    root = make_davis(tmp_path, num_videos=1)
    (root / 'ImageSets' / '2016').mkdir()
    (root / 'ImageSets' / '2016' / 'val.txt').write_text('video0\n')
    for path in (root / 'Annotations' / '480p' / 'video0').iterdir():
        write_mask(path, np.where(read_mask(path) > 0, 255, 0))
    sample = predicted(DAVIS(str(root), year=2016), 0)
    sample.pred_masks = torch.from_numpy(np.stack([read_mask(path) for path in sample.mask_paths]) // 255)
    evaluator = Evaluator(DAVISMetric())
    evaluator.process([sample])
    assert evaluator.evaluate(1)['J&F-Mean'] == 1


def test_truth_of_another_size(root):
    sample = predicted(DAVIS(str(root)), 1)
    write_mask(sample.mask_paths[3], np.ones((32, 48), np.uint8))
    with pytest.raises(ValueError, match=r'Video video1: ground truth .*00003\.png is 32x48 .* are 64x96'):
        DAVISMetric().process(None, [sample.to_dict()])


def test_more_ids_than_objects_names_the_video(root):
    sample = predicted(DAVIS(str(root)), 1)
    sample.pred_masks[2, 0, 0] = 5
    with pytest.raises(ValueError, match=r'Video video1: Predicted ids \[5\]'):
        DAVISMetric().process(None, [sample.to_dict()])


def test_frames_without_prediction(root):
    sample = predicted(DAVIS(str(root)), 1)
    sample.pred_masks = sample.pred_masks[:4]
    with pytest.raises(ValueError, match=r'Video video1: .* 5 frames .* got \[4, 64, 96\]'):
        DAVISMetric().process(None, [sample.to_dict()])


def test_one_protocol_per_evaluation(root):
    dataset, metric = DAVIS(str(root)), DAVISMetric()
    metric.process(None, [predicted(dataset, 0).to_dict(), predicted(dataset, 1, version=2).to_dict()])
    with pytest.raises(ValueError, match='share one protocol'):
        metric.evaluate(3)


def test_two_processes_give_the_numbers_of_one(root, tmp_path):
    torch.multiprocessing.spawn(run_rank, (str(root), str(tmp_path)), nprocs=2)
    alone = evaluate(root)
    assert [json.loads((tmp_path / f'result{rank}.json').read_text()) for rank in range(2)] == [alone, alone]
    assert (tmp_path / 'rank0' / 'davis_results.json').exists()
    assert not (tmp_path / 'rank1' / 'davis_results.json').exists()


def test_frames_without_truth_are_as_if_they_were_not_there(root, tmp_path):
    sample = predicted(DAVIS(str(root)), 0)
    known = [0, 2, 3, 4]
    truths = np.stack([read_mask(sample.mask_paths[t]) for t in known])
    expected = evaluate_video(sample.pred_masks.numpy()[known], truths)
    sample.set_metainfo(dict(mask_paths=[path if t in known else None for t, path in enumerate(sample.mask_paths)]))
    metric = DAVISMetric()
    metric.process(None, [sample.to_dict()])
    assert metric.results[0]['record']['objects'] == expected
    sample.set_metainfo(dict(mask_paths=[None, *sample.mask_paths[1:]]))
    with pytest.raises(ValueError, match='video0: the truth of the first frame is not known'):
        metric.process(None, [sample.to_dict()])


def test_a_video_of_one_frame_is_too_short_and_not_one_of_hidden_truth(root):
    sample = predicted(DAVIS(str(root)), 0)
    sample.pred_masks = sample.pred_masks[:1]
    sample.set_metainfo(dict(mask_paths=sample.mask_paths[:1], frame_names=sample.frame_names[:1]))
    with pytest.raises(ValueError, match='Video video0: .* 3 are needed, got 1'):
        DAVISMetric().process(None, [sample.to_dict()])
    sample.set_metainfo(dict(mask_paths=[*sample.mask_paths, None]))
    with pytest.raises(ValueError, match='Video video0: 2 mask_paths for 1 frames'):
        DAVISMetric().process(None, [sample.to_dict()])


def test_ids_that_the_first_mask_skips_are_said(root, log):
    for video, old, new in (('video0', 2, 7), ('video1', 1, 9)):
        for path in (root / 'Annotations' / '480p' / video).iterdir():
            mask = read_mask(path)
            write_mask(path, np.where(mask == old, new, mask))
    evaluate(root)
    assert 'the first masks of 2 videos skip ids' in log.text
    assert 'video0: 2, 4 to 6; video1: 1, 3 to 8.' in log.text


def test_contiguous_ids_need_no_warning(root, log):
    evaluate(root)
    assert 'skip ids' not in log.text


def test_a_row_of_the_log_for_each_video(root, log):
    metrics = evaluate(root, indices=(0, 2))
    lines = log.text.split('2 videos, 5 objects\n')[1].splitlines()
    assert lines[0].split() == KEYS
    rows = {line[:11].strip(): line[11:].split() for line in lines[1:4]}
    assert list(rows) == ['video0', 'video2', 'all objects']
    assert rows['all objects'] == [f'{metrics[key]:.4f}' for key in KEYS]
    assert rows['video2'] == [f'{value:.4f}' for value in evaluate(root, indices=(2,)).values()]
