import csv
import json
import logging

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement

from stt_mm.evaluation.functional import category_iou, confusion_matrix
from stt_mm.evaluation.functional.vip import CATEGORIES
from stt_mm.evaluation.metrics import VIPInstanceMetric, VIPMetric
from stt_mm.registry import METRICS
from stt_mm.utils import read_mask, write_mask

VIDEOS = ('videos1', 'videos2')


def element(video_id, predictions, **metainfo):
    names = [f'{t * 25 + 1:012d}' for t in range(len(predictions))]
    result = BaseDataElement(pred_masks=predictions)
    result.set_metainfo(
        dict(
            video_id=video_id,
            frame_names=names,
            original_size=predictions.shape[1:],
            protocol=dict(name='stt_vip_s8', version=1),
            **metainfo,
        )
    )
    return result


@pytest.fixture
def parts(data, tmp_path):
    """Videos with masks that the released code predicted."""
    arrays, samples = np.load(data / 'vip' / 'masks.npz'), {}
    for video_id in VIDEOS:
        truths = arrays[f'{video_id}/truth']
        paths = [str(tmp_path / video_id / f'{t}.png') for t in range(len(truths))]
        for path, truth in zip(paths, truths, strict=True):
            write_mask(path, truth)
        samples[video_id] = element(video_id, arrays[f'{video_id}/prediction'], mask_paths=paths)
    return samples


@pytest.fixture
def instances(data):
    """Videos with predicted instances; here the ids of all frames share one table of categories."""
    samples, folder = {}, data / 'instance_ap'
    for video_id in VIDEOS:
        paths = sorted((folder / 'gt' / video_id).glob('*.png'))
        masks, scores, categories = [], [], {}
        for t, path in enumerate(paths):
            text = folder / 'pred' / video_id / f'{path.stem}.txt'
            mask = read_mask(text.with_suffix('.png'))
            # Ids 10 t + 1 ... 10 t + 6, so that the categories differ from frame to frame as in the files.
            masks.append(np.where(mask > 0, mask + 10 * t, 0).astype(np.uint8))
            scores.append({})
            for i, line in enumerate(text.read_text().splitlines(), start=10 * t + 1):
                category, score = line.split()
                categories[i], scores[-1][i] = int(category), float(score)
        sample = element(
            video_id,
            np.stack(masks),
            mask_paths=[str(path) for path in paths],
            categories=categories,
            text_paths=[str(path.with_suffix('.txt')) for path in paths],
        )
        sample.set_field(scores, 'pred_scores', dtype=list)
        samples[video_id] = sample
    return samples


def evaluate(kind, samples, videos=VIDEOS, **kwargs):
    evaluator = Evaluator(METRICS.build(dict(type=kind, **kwargs)))
    for video_id in videos:
        evaluator.process([samples[video_id]])
    return evaluator.evaluate(len(videos))


def test_miou_of_the_published_scripts(parts):
    metrics = evaluate('VIPMetric', parts)
    assert metrics['mIoU'] == pytest.approx(0.6871828344, rel=0, abs=1e-10)
    later = [sample.pred_masks[1:] for sample in parts.values()]
    truths = [np.stack([read_mask(path) for path in sample.mask_paths[1:]]) for sample in parts.values()]
    confusion = sum(confusion_matrix(*pair) for pair in zip(later, truths, strict=True))
    assert list(metrics) == ['mIoU', 'mIoU-without-first-frame', 'mean-accuracy', 'overall-accuracy']
    assert metrics['mIoU-without-first-frame'] == pytest.approx(np.nanmean(category_iou(confusion)))
    assert metrics['mIoU'] - metrics['mIoU-without-first-frame'] > 0.01


def test_accuracies_count_true_pixels(tmp_path):
    truth = np.array([[0, 0, 0, 1], [2, 2, 255, 255]], np.uint8)
    write_mask(tmp_path / '0.png', truth)
    prediction = np.array([[[0, 0, 3, 1], [1, 1, 5, 5]]])
    metrics = evaluate('VIPMetric', {'v': element('v', prediction, mask_paths=[str(tmp_path / '0.png')])}, ['v'])
    assert metrics['mean-accuracy'] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert metrics['overall-accuracy'] == pytest.approx(3 / 6)


def test_ap_of_the_published_script(instances):
    metrics = evaluate('VIPInstanceMetric', instances)
    assert metrics['AP'] == pytest.approx(0.06508632692843219, rel=0, abs=1e-12)
    thresholds = [0.221178, 0.194403, 0.088028, 0.046788, 0.024269, 0.008187, 0.002924, 0, 0]
    expected = {f'AP@0.{n}': pytest.approx(value, abs=5e-7) for n, value in enumerate(thresholds, start=1)}
    assert metrics == {'AP': metrics['AP'], **expected}


@pytest.mark.parametrize('kind', ['VIPMetric', 'VIPInstanceMetric'])
def test_order_and_split_of_the_videos_do_not_matter(kind, request):
    samples = request.getfixturevalue('parts' if kind == 'VIPMetric' else 'instances')
    whole = evaluate(kind, samples)
    assert evaluate(kind, samples, VIDEOS[::-1]) == whole
    halves = [METRICS.build(dict(type=kind)) for _ in range(2)]
    halves[0].process(None, [samples['videos2'].to_dict()])
    halves[1].process(None, [samples[video_id].to_dict() for video_id in VIDEOS])
    assert METRICS.build(dict(type=kind)).compute_metrics(halves[1].results + halves[0].results) == whole


def test_resumed_records_count_as_the_others(instances, tmp_path):
    """Floating point numbers keep their value on disk."""
    evaluate('VIPInstanceMetric', instances, ['videos1'], out_dir=str(tmp_path), run_id='a')
    again = evaluate('VIPInstanceMetric', instances, ['videos2'], out_dir=str(tmp_path), run_id='a', resume=True)
    assert again == evaluate('VIPInstanceMetric', instances)


def test_files_of_parts(parts, tmp_path):
    metrics = evaluate('VIPMetric', parts, out_dir=str(tmp_path / 'out'))
    content = json.loads((tmp_path / 'out' / 'vip_results.json').read_text())
    assert content['global'] == metrics
    rows = content['per_category']
    assert len(rows) == 20
    present = [row['IoU'] for row in rows if row['IoU'] is not None]
    assert (len(present), np.mean(present)) == (6, pytest.approx(metrics['mIoU']))
    assert rows[1] == {'category': 'hat', 'IoU': None, 'IoU-without-first-frame': None}
    assert content['per_video'][1]['mIoU'] == evaluate('VIPMetric', parts, ['videos2'])['mIoU']
    with open(tmp_path / 'out' / 'vip_per_category.csv', newline='') as file:
        assert [row['IoU'] for row in csv.DictReader(file)] == [
            '' if row['IoU'] is None else str(row['IoU']) for row in rows
        ]


def test_files_of_instances(instances, tmp_path):
    metrics = evaluate('VIPInstanceMetric', instances, out_dir=str(tmp_path))
    content = json.loads((tmp_path / 'vip_instance_results.json').read_text())
    assert np.mean([row['AP'] for row in content['per_category']]) == pytest.approx(metrics['AP'])
    assert content['per_video'] == {video_id: dict(num_predicted=18, num_true=18) for video_id in VIDEOS}
    record = json.loads((tmp_path / 'videos' / 'vip_instance' / 'videos1.json').read_text())['record']
    assert (len(record['predictions']), sum(record['num_true'])) == (18, 18)


def test_frames_without_a_mask_file_do_not_count(parts):
    sample = parts['videos1']
    expected = evaluate('VIPMetric', parts, ['videos1'])['mIoU-without-first-frame']
    sample.set_metainfo(dict(mask_paths=[None, *sample.mask_paths[1:]]))
    metrics = evaluate('VIPMetric', parts, ['videos1'])
    assert {key: metrics[key] for key in ('mIoU', 'mIoU-without-first-frame')} == {
        'mIoU': expected,
        'mIoU-without-first-frame': expected,
    }


def test_nothing_annotated(parts):
    for path in parts['videos1'].mask_paths:
        write_mask(path, np.full_like(read_mask(path), 255))
    assert evaluate('VIPMetric', parts, ['videos1']) == {}


def test_errors_name_the_video_and_the_frame(parts):
    sample = parts['videos1']
    sample.pred_masks[2, 0, 0] = 20
    with pytest.raises(ValueError, match=r'Video videos1: frame 000000000051: Predicted values \[20\]'):
        VIPMetric().process(None, [sample.to_dict()])
    sample.pred_masks[2, 0, 0] = 0
    write_mask(sample.mask_paths[1], np.zeros((8, 9), np.uint8))
    with pytest.raises(ValueError, match=r'Video videos1: ground truth .*1\.png is 8x9'):
        VIPMetric().process(None, [sample.to_dict()])
    sample.set_metainfo(dict(mask_paths=sample.mask_paths[1:]))
    with pytest.raises(ValueError, match='Video videos1: 4 mask_paths for 5 frames'):
        VIPMetric().process(None, [sample.to_dict()])


def test_instances_need_a_score_and_a_category(instances):
    sample = instances['videos1']
    missing = sample.to_dict()
    missing.pop('pred_scores')
    with pytest.raises(ValueError, match='videos1: the model returned no pred_scores'):
        VIPInstanceMetric().process(None, [missing])
    sample.pred_masks[1, 0, 0] = 99
    with pytest.raises(ValueError, match=r'videos1: frame 000000000026: Predicted parts \[99\] lack a score or'):
        VIPInstanceMetric().process(None, [sample.to_dict()])
    sample.pred_scores[1][99] = 0.5
    with pytest.raises(ValueError, match=r'Predicted parts \[99\] lack a score or a category'):
        VIPInstanceMetric().process(None, [sample.to_dict()])


def test_parts_with_a_score_that_the_mask_lacks(instances):
    """UVC's script drops their whole category in the frame, ATEN's ancestor of it only what is missing."""
    sample = instances['videos1']
    sample.pred_masks[0][sample.pred_masks[0] == 2] = 0  # one of two parts of category 3
    numbers = []
    for drop_incomplete in (True, False):
        metric = VIPInstanceMetric(drop_incomplete=drop_incomplete)
        metric.process(None, [sample.to_dict()])
        record = metric.results[0]['record']
        numbers.append((len(record['predictions']), sum(record['num_true'])))
    assert numbers == [(16, 18), (17, 18)]


def test_the_background_needs_no_score_and_may_have_one(instances):
    sample = instances['videos1']
    expected = VIPInstanceMetric()
    expected.process(None, [sample.to_dict()])
    sample.pred_scores[0][0] = 0.9
    metric = VIPInstanceMetric()
    metric.process(None, [sample.to_dict()])
    assert metric.results[0]['record'] == expected.results[0]['record']


def test_the_log_has_the_categories_that_occur_and_the_means(parts, instances, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel(logging.INFO)
    metrics = evaluate('VIPMetric', parts)
    lines = caplog.text.split('2 videos\n')[1].splitlines()
    assert lines[0].split() == ['mIoU', 'mIoU-without-first-frame', 'mean-accuracy', 'overall-accuracy'][:2]
    # Six categories occur.
    assert len(lines[1:-2]) == 6
    assert lines[-2].split() == ['mean', *(f'{metrics[key]:.4f}' for key in ('mIoU', 'mIoU-without-first-frame'))]
    assert lines[-1] == ', '.join(f'{key} {metrics[key]:.4f}' for key in ('mean-accuracy', 'overall-accuracy'))
    logger.removeHandler(caplog.handler)


def test_rows_of_the_tables_of_instances(instances, tmp_path):
    metrics = evaluate('VIPInstanceMetric', instances, out_dir=str(tmp_path))
    with open(tmp_path / 'vip_instance_per_category.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    names = [f'AP@0.{n}' for n in range(1, 10)]
    assert [row['category'] for row in rows] == list(CATEGORIES[1:])
    values = np.array([[float(row[name]) for name in names] for row in rows])
    assert [float(row['AP']) for row in rows] == pytest.approx(values.mean(1))
    assert values.mean(0).tolist() == pytest.approx([metrics[name] for name in names])


def test_rows_of_the_tables_of_parts(parts, tmp_path):
    evaluate('VIPMetric', parts, out_dir=str(tmp_path))
    with open(tmp_path / 'vip_per_video.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / 'vip_per_category.csv', newline='') as file:
        assert [row['category'] for row in csv.DictReader(file)] == list(CATEGORIES)
    assert [row['video'] for row in rows] == list(VIDEOS)
    for row in rows:
        alone = evaluate('VIPMetric', parts, [row['video']])
        assert {key: float(row[key]) for key in list(row)[1:]} == {
            key: alone[key] for key in ('mIoU', 'mIoU-without-first-frame')
        }


def test_a_video_whose_first_frame_alone_is_annotated(parts, tmp_path):
    sample = parts['videos1']
    sample.set_metainfo(dict(mask_paths=[sample.mask_paths[0], *[None] * 4]))
    metrics = evaluate('VIPMetric', parts, ['videos1'], out_dir=str(tmp_path))
    assert list(metrics) == ['mIoU', 'mean-accuracy', 'overall-accuracy']
    (row,) = json.loads((tmp_path / 'vip_results.json').read_text())['per_video']
    assert row['mIoU-without-first-frame'] is None
