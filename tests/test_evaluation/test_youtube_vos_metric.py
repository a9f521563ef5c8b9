import csv
import json
import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger
from tiny_data import make_youtube_vos_valid

from stt_mm.datasets import YouTubeVOSBenchmark
from stt_mm.evaluation.functional import score_objects
from stt_mm.evaluation.metrics import YouTubeVOSMetric
from stt_mm.registry import METRICS
from stt_mm.utils import read_mask

PROTOCOL = dict(name='toy', version=1)


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def train(tmp_path):
    """Two videos of four frames, fully annotated; object 2 appears in the second frame."""
    make_youtube_vos_valid(tmp_path, split='train', annotated=True)
    return YouTubeVOSBenchmark(str(tmp_path), split='train')


def predicted(dataset, index):
    """A sample with the truth (where there is none, the first mask) moved by three pixels as prediction."""
    sample = dataset[index]['data_samples'].to_dict()
    masks = [read_mask(path) if path else sample['given_masks'][0] for path in sample['mask_paths']]
    return dict(sample, pred_masks=np.roll(np.stack(masks), 3, axis=2), protocol=PROTOCOL)


def evaluate(dataset, **arguments):
    metric = YouTubeVOSMetric(**arguments)
    metric.process(None, [predicted(dataset, index) for index in range(len(dataset))])
    return metric.evaluate(len(dataset))


def by_hand(dataset):
    """(J, F) of objects 1 and 2 of each video."""
    rows = []
    for index in range(len(dataset)):
        sample = predicted(dataset, index)
        truths = np.stack([read_mask(path) for path in sample['mask_paths']])
        rows.append(list(score_objects(sample['pred_masks'], truths, range(4), {1: 0, 2: 1}).values()))
    return np.array(rows)


def test_seen_and_unseen(train, tmp_path, log):
    (tmp_path / 'seen.txt').write_text('dog\n\nsnail\n')
    (tmp_path / 'seen.json').write_text('["dog", "snail"]')
    values = by_hand(train).mean(axis=0)
    expected = {
        'Overall': values.mean(),
        'J-Mean': values[:, 0].mean(),
        'F-Mean': values[:, 1].mean(),
        'J-Seen': values[0, 0],
        'F-Seen': values[0, 1],
        'J-Unseen': values[1, 0],
        'F-Unseen': values[1, 1],
    }
    assert 0.05 < values.min() < values.max() < 0.95
    for seen in (['dog', 'snail'], str(tmp_path / 'seen.txt'), str(tmp_path / 'seen.json')):
        assert evaluate(train, seen_categories=seen) == pytest.approx(expected, abs=1e-12)
    assert '2 videos, 4 objects; Overall is the mean of J and F of seen and unseen categories' in log.text


def test_without_categories_it_says_so(train, tmp_path, log):
    metrics = evaluate(train, out_dir=str(tmp_path / 'out'))
    values = by_hand(train).reshape(4, 2).mean(axis=0)
    assert metrics == pytest.approx({'Overall': values.mean(), 'J-Mean': values[0], 'F-Mean': values[1]}, abs=1e-12)
    assert 'as not both seen and unseen categories are known' in log.text
    content = json.loads((tmp_path / 'out' / 'ytv_results.json').read_text())
    assert content['overall'].startswith('mean of J and F over all objects, as not both')
    assert (content['num_videos'], content['num_objects'], content['objects_without_scored_frames']) == (2, 4, 0)
    assert content['per_video']['video1']['2']['J'] == by_hand(train)[1, 1, 0]
    for name, expected in (('object', by_hand(train).reshape(4, 2)), ('video', by_hand(train).mean(axis=1))):
        with open(tmp_path / 'out' / f'ytv_per_{name}.csv', newline='') as file:
            rows = [(float(row['J']), float(row['F'])) for row in csv.DictReader(file)]
        assert np.allclose(rows, expected, rtol=0, atol=1e-12)


def test_an_object_of_the_last_frame_does_not_count(tmp_path):
    make_youtube_vos_valid(tmp_path, split='train', num_videos=1, births=(0, 3), annotated=True)
    dataset = YouTubeVOSBenchmark(str(tmp_path), split='train')
    metric = YouTubeVOSMetric(out_dir=str(tmp_path / 'out'))
    metric.process(None, [predicted(dataset, 0)])
    objects = metric.results[0]['record']['objects']
    assert objects['2'] == dict(category='person', J=None, F=None)
    assert metric.evaluate(1)['J-Mean'] == objects['1']['J']
    assert json.loads((tmp_path / 'out' / 'ytv_results.json').read_text())['objects_without_scored_frames'] == 1


def test_hidden_truth_is_not_scored_and_its_masks_are_those_of_the_submission(tmp_path, log):
    make_youtube_vos_valid(tmp_path, all_frames=True)
    dataset = YouTubeVOSBenchmark(str(tmp_path), all_frames=True)
    arguments = dict(type='YouTubeVOSMetric', dump_masks=str(tmp_path / 'masks'), out_dir=str(tmp_path / 'out'))
    metric = METRICS.build(dict(arguments, run_id='r'))
    samples = [predicted(dataset, index) for index in range(2)]
    assert len(samples[0]['frame_names']) > 4
    metric.process(None, [samples[0]])
    resumed = METRICS.build(dict(arguments, run_id='r', resume=True))
    resumed.process(None, [samples[1]])
    assert resumed.evaluate(1) == {}
    assert '2 of 2 videos are not scored, the truth of their frames is not known: video0, video1' in log.text
    paths = sorted((tmp_path / 'masks').rglob('*.png'))
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f'masks/video{v}/{t:05d}.png' for v in (0, 1) for t in (5, 10, 15, 20)
    ]
    for path in paths:
        sample = samples[int(path.parent.name[-1])]
        assert np.array_equal(read_mask(path), sample['pred_masks'][sample['frame_names'].index(path.stem)])


def test_ids_that_are_no_objects(train):
    sample = predicted(train, 1)
    sample['pred_masks'][2, 0, 0] = 9
    with pytest.raises(ValueError, match=r'Video video1: Predicted ids \[9\], but the objects are \[1, 2\]'):
        YouTubeVOSMetric().process(None, [sample])


@pytest.mark.parametrize('key', ['mask_paths', 'output_frames'])
def test_lists_of_another_length_are_refused(train, key):
    sample = predicted(train, 0)
    with pytest.raises(ValueError, match='Video video0: . (mask_paths|output_frames) for 4 frames'):
        YouTubeVOSMetric().process(None, [dict(sample, **{key: sample[key][:3]})])


def test_a_frame_without_truth_that_is_put_out_leaves_the_video_unscored(train, log):
    sample = predicted(train, 0)
    metric = YouTubeVOSMetric()
    paths = [*sample['mask_paths'][:3], None]
    metric.process(None, [dict(sample, mask_paths=paths), dict(sample, truth_known=False)])
    assert [entry['record']['objects'] for entry in metric.results] == [None, None]
    # Where the last frame is not asked for, the others are scored.
    metric.process(None, [dict(sample, mask_paths=paths, output_frames=[True] * 3 + [False])])
    record = metric.results[2]['record']
    truths = np.stack([read_mask(path) for path in paths[:3]])
    expected = score_objects(sample['pred_masks'], truths, range(3), {1: 0, 2: 1})
    assert {int(k): (row['J'], row['F']) for k, row in record['objects'].items()} == expected


def test_unscored_videos_are_told_up_to_five(train, log):
    sample = dict(predicted(train, 0), truth_known=False)
    metric = YouTubeVOSMetric()
    metric.process(None, [dict(sample, video_id=f'v{number}') for number in range(6)])
    assert metric.evaluate(6) == {}
    assert '6 of 6 videos are not scored, the truth of their frames is not known: v0, v1, v2, v3, v4\n' in log.text
    assert 'no object could be scored' in log.text


@pytest.mark.parametrize(
    ('name', 'content'),
    [('a.json', '{"dog": 1}'), ('a.json', '["dog"'), ('a.txt', '\n'), ('a.JSON', '["dog", 1]'), ('a.json', '[]')],
)
def test_broken_lists_of_categories(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=name):
        YouTubeVOSMetric(seen_categories=str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match='missing.txt'):
        YouTubeVOSMetric(seen_categories=str(tmp_path / 'missing.txt'))


def test_a_video_whose_frames_are_all_first_frames_is_scored_where_its_truth_is_known(tmp_path):
    make_youtube_vos_valid(tmp_path, split='train', num_videos=1, num_frames=2, annotated=True)
    dataset = YouTubeVOSBenchmark(str(tmp_path), split='train')
    metric = YouTubeVOSMetric()
    metric.process(None, [predicted(dataset, 0)])
    objects = metric.results[0]['record']['objects']
    assert 0 < objects['1']['J'] < 1
    assert objects['2']['J'] is None
    assert metric.evaluate(1)['J-Mean'] == objects['1']['J']


def test_a_video_whose_frames_are_all_first_frames_is_not_scored(tmp_path, log):
    """As many videos of the hidden truth: their masks show what is given, not what is to be found."""
    make_youtube_vos_valid(tmp_path, num_videos=1, num_frames=2)
    assert evaluate(YouTubeVOSBenchmark(str(tmp_path))) == {}
    assert '1 of 1 videos are not scored, the truth of their frames is not known: video0' in log.text


def test_files_name_video_object_and_category(train, tmp_path, log):
    samples = [predicted(train, 0), dict(predicted(train, 1), truth_known=False)]
    metric = YouTubeVOSMetric(out_dir=str(tmp_path / 'out'))
    metric.process(None, samples)
    metrics = metric.evaluate(2)
    content = json.loads((tmp_path / 'out' / 'ytv_results.json').read_text())
    assert (content['num_videos'], content['num_objects'], content['not_scored']) == (1, 2, ['video1'])
    assert list(content['per_video']) == ['video0']
    j, f = by_hand(train)[0].T
    tables = {}
    for name in ('video', 'object'):
        with open(tmp_path / 'out' / f'ytv_per_{name}.csv', newline='') as file:
            tables[name] = list(csv.DictReader(file))
    assert tables['video'] == [dict(Video='video0', Objects='2', J=str(j.mean()), F=str(f.mean()))]
    assert tables['object'] == [
        dict(Video='video0', Object=str(k + 1), Category=category, J=str(j[k]), F=str(f[k]))
        for k, category in enumerate(('dog', 'person'))
    ]
    assert '1 of 2 videos are not scored, the truth of their frames is not known: video1' in log.text
    assert '1 videos, 2 objects; Overall is the mean of J and F over all objects' in log.text
    assert f'{metrics["Overall"]:.4f}' in log.text


@pytest.mark.parametrize(('seen', 'official'), [(['dog'], True), (['dog', 'person'], False), ([], False)])
def test_both_groups_must_have_objects(train, seen, official):
    metrics = evaluate(train, seen_categories=seen)
    assert ('J-Seen' in metrics and 'J-Unseen' in metrics) == official
    values = by_hand(train)
    parts = values.mean(axis=0) if official else values.reshape(4, 2).mean(axis=0)
    assert metrics['Overall'] == pytest.approx(parts.mean())


def test_objects_without_a_category_belong_to_no_group(train):
    samples = [predicted(train, 0), predicted(train, 1)]
    samples[1]['objects'][2]['category'] = None
    metric = YouTubeVOSMetric(seen_categories=['dog'])
    metric.process(None, samples)
    assert set(metric.evaluate(2)) == {'Overall', 'J-Mean', 'F-Mean'}
