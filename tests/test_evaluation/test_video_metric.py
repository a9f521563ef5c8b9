import hashlib
import json
import logging

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from stt_mm.evaluation.metrics import VideoMetric, completed
from stt_mm.evaluation.metrics.base import predicted_masks, read_truth
from stt_mm.evaluation.metrics.davis import ranges
from stt_mm.evaluation.metrics.records import forget_records
from stt_mm.evaluation.metrics.tables import text_table, write_csv, write_json
from stt_mm.utils import read_mask, write_mask

PROTOCOL = dict(name='toy', version=1, size=(4, 6))


class Count(VideoMetric):
    """Pixels that are not background."""

    name = 'count'
    description = 'counts pixels'

    def score(self, sample):
        return dict(pixels=int((sample['pred_masks'] > 0).sum()), by_frame={0: (1, 2)})

    def summarise(self, records):
        assert list(records) == sorted(records)
        return dict(pixels=float(sum(record['pixels'] for record in records.values())))

    def tables(self, records):
        return dict(count_per_video=[dict(video=k, pixels=v['pixels']) for k, v in records.items()])


@pytest.fixture
def warnings(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def sample(video_id, pixels, **changes):
    masks = np.zeros((2, 4, 6), np.uint8)
    masks.reshape(-1)[:pixels] = 3
    base = dict(video_id=video_id, frame_names=['a', 'b'], original_size=(4, 6), protocol=PROTOCOL, pred_masks=masks)
    return dict(base, **changes)


def process(metric, *samples):
    for item in samples:
        metric.process(None, [item])
    return metric


def test_a_record_is_on_disk_before_the_next_video(tmp_path):
    out = str(tmp_path)
    process(Count(out_dir=out, run_id='r1'), sample('walk/clip0', 5))
    path = tmp_path / 'videos' / 'count' / 'walk' / 'clip0.json'
    content = json.loads(path.read_text())
    assert len(content.pop('sha8')) == 8
    assert content == dict(
        video_id='walk/clip0',
        run_id='r1',
        protocol=dict(name='toy', version=1, size=[4, 6]),
        max_frames=None,
        files=None,
        record=dict(pixels=5, by_frame={'0': [1, 2]}),
    )
    assert completed(out, 'count', 'r1') == ['walk/clip0']
    assert completed(out, 'other', 'r1') == completed(str(tmp_path / 'nothing'), 'count', 'r1') == []


def test_a_resumed_run_has_the_numbers_of_a_whole_one(tmp_path):
    samples = [sample(name, pixels) for name, pixels in (('b', 4), ('c', 9), ('a', 2))]
    whole = process(Count(out_dir=str(tmp_path / 'whole')), *samples)
    expected = whole.evaluate(3)
    assert expected == dict(pixels=15.0)
    parts = str(tmp_path / 'parts')
    process(Count(out_dir=parts), *samples[:2])
    resumed = process(Count(out_dir=parts, resume=True), samples[2])
    assert resumed.evaluate(1) == expected
    for name in ('count_results.json', 'count_per_video.csv'):
        assert (tmp_path / 'parts' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
    content = json.loads((tmp_path / 'parts' / 'count_results.json').read_text())
    assert content['protocol'] == dict(name='toy', version=1, size=[4, 6])
    assert (content['metric'], content['num_videos'], content['global']) == ('counts pixels', 3, expected)
    assert list(content['per_video']) == ['a', 'b', 'c']
    assert (tmp_path / 'parts' / 'count_per_video.csv').read_bytes() == b'video,pixels\r\na,2\r\nb,4\r\nc,9\r\n'
    assert process(Count(out_dir=parts, resume=True)).evaluate(0) == expected


def test_what_is_processed_now_replaces_an_older_record(tmp_path):
    process(Count(out_dir=str(tmp_path)), sample('a', 1), sample('b', 1))
    resumed = process(Count(out_dir=str(tmp_path), resume=True), sample('a', 7))
    assert resumed.evaluate(2) == dict(pixels=8.0)
    assert process(Count(out_dir=str(tmp_path)), sample('a', 7)).evaluate(1) == dict(pixels=7.0)


def test_records_of_another_run_are_refused(tmp_path):
    process(Count(out_dir=str(tmp_path), run_id='old'), sample('a', 1))
    with pytest.raises(ValueError, match=r"a\.json belongs to run 'old', this is run 'new'.*delete .*count or choose"):
        Count(out_dir=str(tmp_path), run_id='new', resume=True)
    with pytest.raises(ValueError, match="run 'old'"):
        completed(str(tmp_path), 'count', 'new')
    with pytest.raises(ValueError, match='resume needs out_dir'):
        Count(resume=True)


@pytest.mark.parametrize(
    'content',
    [
        '{"video_id": "a", "run',
        '',
        '[]',
        '{"video_id": "a"}',
        '\x00\x01',
        '{"video_id": "a", "run_id": "", "protocol": {}, "record": {"pixels": 1}}',  # does not say on which frames
    ],
)
def test_a_damaged_record_counts_as_not_done(tmp_path, warnings, content):
    out = str(tmp_path)
    process(Count(out_dir=out), sample('a', 1), sample('b', 2))
    path = tmp_path / 'videos' / 'count' / 'a.json'
    path.write_text(content)
    (path.parent / '.c.json.x1.tmp').write_text('half of a record')
    assert completed(out, 'count', '') == ['b']
    assert f'{path} is damaged' in warnings.text
    assert process(Count(out_dir=out, resume=True), sample('a', 5)).evaluate(1) == dict(pixels=7.0)


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('"pixels": 1', '"pixels": 7'),
        ('{"pixels": 1, "by_frame": {"0": [1, 2]}}', 'null'),
        ('[1, 2]', '[]'),
        ('"sha8"', '"sha9"'),
    ],
)
def test_an_altered_record_counts_as_not_done(tmp_path, warnings, old, new):
    process(Count(out_dir=str(tmp_path)), sample('a', 1), sample('b', 2))
    path = tmp_path / 'videos' / 'count' / 'a.json'
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert completed(str(tmp_path), 'count', '') == ['b']
    assert f'{path} is damaged' in warnings.text


def test_a_resumed_record_of_another_protocol(tmp_path):
    process(Count(out_dir=str(tmp_path)), sample('a', 1, protocol=dict(PROTOCOL, version=2)))
    metric = process(Count(out_dir=str(tmp_path), resume=True), sample('b', 1))
    with pytest.raises(ValueError, match=r"share one protocol, got .*'version': 2.* for a and .*'version': 1.* for b"):
        metric.evaluate(2)


@pytest.mark.parametrize(('changes', 'expected'), [({}, None), (dict(max_frames=None), None), (dict(max_frames=2), 2)])
def test_a_result_says_on_which_frames_it_was_made(tmp_path, warnings, changes, expected):
    process(Count(out_dir=str(tmp_path)), sample('a', 1, **changes))
    resumed = process(Count(out_dir=str(tmp_path), resume=True), sample('b', 1, **changes))
    assert resumed.evaluate(2) == dict(pixels=2.0)
    content = json.loads((tmp_path / 'count_results.json').read_text())
    assert (content['max_frames'], content['num_videos']) == (expected, 2)
    assert f'protocol toy, version 1{"" if expected is None else ", max_frames 2"}: ' in warnings.text


@pytest.mark.parametrize('other', [None, 3])
def test_videos_cut_in_different_ways_do_not_mix(tmp_path, other):
    process(Count(out_dir=str(tmp_path)), sample('a', 1, max_frames=2))
    metric = process(Count(out_dir=str(tmp_path), resume=True), sample('b', 1, max_frames=other))
    with pytest.raises(ValueError, match=f'share one max_frames, got 2 for a and {other} for b.*Evaluate them alike'):
        metric.evaluate(2)
    assert not (tmp_path / 'count_results.json').exists()


@pytest.mark.parametrize('video_id', ['', '/abs', '../up', 'a/../../b', 'C:/v', '..\\up', 'a\0'])
@pytest.mark.parametrize('folder', ['out_dir', 'dump_masks'])
def test_ids_stay_within_the_folder(tmp_path, video_id, folder):
    """Nothing at all is written, be it records or masks."""
    with pytest.raises(ValueError, match='are relative paths'):
        process(Count(**{folder: str(tmp_path / 'out' / 'below')}), sample(video_id, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('record', None),
        ('record', {'pixels': 9, 'by_frame': {'0': [1, 2]}}),
        ('record', []),
        ('files', {'a.png': 5}),
        ('protocol', 'toy'),
        ('max_frames', 'all'),
        ('run_id', 3),
        ('sha8', None),
        ('video_id', ['a']),
    ],
)
def test_a_record_that_was_changed_counts_as_not_done(tmp_path, warnings, key, value):
    out = str(tmp_path)
    process(Count(out_dir=out), sample('a', 1), sample('b', 2))
    path = tmp_path / 'videos' / 'count' / 'a.json'
    path.write_text(json.dumps(dict(json.loads(path.read_text()), **{key: value})))
    assert completed(out, 'count', '') == ['b']
    assert f'{path} is damaged' in warnings.text
    assert process(Count(out_dir=out, resume=True), sample('a', 5)).evaluate(1) == dict(pixels=7.0)


def test_a_record_is_not_written_through_a_link(tmp_path):
    (tmp_path / 'theirs').mkdir()
    (tmp_path / 'out' / 'videos' / 'count').mkdir(parents=True)
    (tmp_path / 'out' / 'videos' / 'count' / 'v').symlink_to(tmp_path / 'theirs')
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks' / 'v').symlink_to(tmp_path / 'theirs')
    for metric in (Count(out_dir=str(tmp_path / 'out')), Count(dump_masks=str(tmp_path / 'masks'))):
        with pytest.raises(ValueError, match=f'v/x.* leads to {tmp_path}/theirs/x.*, out of'):
            process(metric, sample('v/x', 1))
    assert not list((tmp_path / 'theirs').iterdir())


@pytest.mark.parametrize('target', ['data', 'link'])
def test_masks_are_not_dumped_among_the_true_ones(tmp_path, target):
    """Whoever builds the metric: the runner of a training knows nothing of the folders of tools/test.py."""
    truth = tmp_path / 'data' / 'v' / 'a.png'
    write_mask(truth, np.ones((4, 6), np.uint8))
    before = truth.read_bytes()
    (tmp_path / 'link').symlink_to('data')
    with pytest.raises(ValueError, match='which is read'):
        process(Count(dump_masks=str(tmp_path / target)), sample('v', 3, mask_paths=[str(truth), None]))
    assert [path.name for path in tmp_path.rglob('*.png')] == ['a.png']
    assert truth.read_bytes() == before


def test_two_frames_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match='Video v: two frames are named a, so one mask would replace the other'):
        process(
            Count(dump_masks=str(tmp_path)),
            sample('v', 3, frame_names=['b', 'a', 'a'], pred_masks=np.zeros((3, 4, 6), np.uint8)),
        )
    assert not list(tmp_path.iterdir())


def test_masks_that_another_run_wrote_are_not_those_of_this_one(tmp_path):
    """Not even equal ones: the other run may still be at work on them."""
    out, mine, theirs = (str(tmp_path / name) for name in ('out', 'mine', 'theirs'))
    process(Count(out_dir=out, dump_masks=mine, run_id='r'), sample('a', 5))
    process(Count(dump_masks=theirs, run_id='other'), sample('a', 5))
    assert completed(out, 'count', 'r', mine) == completed(out, 'count', 'r') == ['a']
    assert completed(out, 'count', 'r', theirs) == completed(out, 'count', 'r', str(tmp_path / 'none')) == []


def test_masks_of_another_run_are_kept(tmp_path):
    process(Count(dump_masks=str(tmp_path), run_id='old'), sample('a', 5))
    before = (tmp_path / 'a' / 'a.png').read_bytes()
    with pytest.raises(ValueError, match="holds masks of run 'old', and the results would mix"):
        process(Count(dump_masks=str(tmp_path), run_id='new'), sample('b', 9))
    process(Count(dump_masks=str(tmp_path), run_id='old'), sample('b', 9))
    assert (tmp_path / 'a' / 'a.png').read_bytes() == before
    assert (tmp_path / 'b' / 'a.png').is_file()


def test_masks_of_output_frames_only(tmp_path):
    metric = Count(dump_masks=str(tmp_path))
    process(metric, sample('a', 30), sample('b', 30, output_frames=[False, True]))
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.png'))
    assert files == ['a/a.png', 'a/b.png', 'b/b.png']
    assert np.array_equal(read_mask(tmp_path / 'b' / 'b.png'), sample('b', 30)['pred_masks'][1])


@pytest.mark.parametrize(
    ('masks', 'message'),
    [
        (np.zeros((2, 4, 5), np.uint8), r'Video a: expected .* 2 frames of 4x6 .* got \[2, 4, 5\]'),
        (np.zeros((3, 4, 6), np.uint8), r'got \[3, 4, 6\]'),
        (None, 'Video a: the model returned no pred_masks'),
    ],
)
def test_predictions_that_do_not_fit(tmp_path, masks, message):
    item = sample('a', 1, pred_masks=masks)
    if masks is None:
        del item['pred_masks']
    with pytest.raises(ValueError, match=message):
        process(Count(dump_masks=str(tmp_path)), item)


def test_nothing_processed(warnings, tmp_path):
    assert Count(out_dir=str(tmp_path)).evaluate(3) == {}
    assert 'no video was processed' in warnings.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('count', 'names'), [(5, 'v0, v1, v2, v3, v4);'), (6, 'v0, v1, v2, v3, v4, ...);')])
def test_finished_videos_without_their_files_are_told(tmp_path, warnings, count, names):
    out = str(tmp_path / 'out')
    process(Count(out_dir=out), *(sample(f'v{number}', 1) for number in reversed(range(count))))
    assert completed(out, 'count', '', str(tmp_path / 'masks')) == []
    assert f'{count} finished videos have no files, or not those of this run' in warnings.text
    assert names in warnings.text


def test_numbers_stand_in_columns():
    rows = {'a': {'J': 0.5, 'a long measure': 1.0}, 'all': {'J': 0.25, 'a long measure': 12.34567}}
    assert text_table(rows).splitlines() == [
        '            J  a long measure',
        'a      0.5000          1.0000',
        'all    0.2500         12.3457',
    ]


def test_tables_and_results_are_plain_files(tmp_path):
    write_csv(tmp_path / 'empty.csv', [])
    assert (tmp_path / 'empty.csv').read_bytes() == b'\r\n'
    write_csv(tmp_path / 'rows.csv', [dict(a=1, b=None), dict(a='x,y', b=0.5)])
    assert (tmp_path / 'rows.csv').read_bytes() == b'a,b\r\n1,\r\n"x,y",0.5\r\n'
    write_json(tmp_path / 'one.json', dict(a=[1]))
    assert (tmp_path / 'one.json').read_text() == '{\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize(
    ('numbers', 'text'),
    [([], ''), ([3], '3'), ([1, 2], '1 to 2'), ([1, 2, 3, 7], '1 to 3, 7'), ([1, 3, 5, 6], '1, 3, 5 to 6')],
)
def test_ranges_of_numbers(numbers, text):
    assert ranges(numbers) == text


def test_records_are_forgotten_whatever_run_they_are_of_and_nothing_else(tmp_path):
    process(Count(out_dir=str(tmp_path), run_id='old'), sample('a', 1), sample('walk/b', 1))
    folder = tmp_path / 'videos' / 'count'
    others = {
        'list.json': '[1]',
        'half.json': '{"video_id": "a", "run',
        'other.json': '{"video_id": "a", "run_id": ""}',
        'notes.txt': 'mine',
    }
    for name, content in others.items():
        (folder / name).write_text(content)
    (tmp_path / 'videos' / 'other').mkdir()
    (tmp_path / 'videos' / 'other' / 'a.json').write_bytes((folder / 'a.json').read_bytes())
    (folder / 'older.json').write_text('{"video_id": "c", "run_id": "", "record": {}, "further": 1}')
    (folder / 'oldest.json').write_text('{"video_id": "d", "run_id": "", "record": {}}')
    forget_records(str(tmp_path), 'count')
    assert {path.relative_to(tmp_path / 'videos').as_posix() for path in tmp_path.rglob('*.*')} == {
        'other/a.json',
        *(f'count/{name}' for name in others),
    }
    forget_records(str(tmp_path / 'nowhere'), 'count')


@pytest.mark.parametrize('change', ['none', 'gone', 'other bytes', 'one more', 'no masks wanted then'])
def test_masks_are_there_only_as_they_were_written(tmp_path, change):
    out, masks = str(tmp_path / 'out'), str(tmp_path / 'masks')
    process(Count(out_dir=out, dump_masks=None if change == 'no masks wanted then' else masks), sample('v', 5))
    if change == 'no masks wanted then':
        process(Count(dump_masks=masks), sample('v', 5))
    file = tmp_path / 'masks' / 'v' / 'b.png'
    if change == 'gone':
        file.unlink()
    elif change == 'other bytes':
        write_mask(file, np.ones((4, 6), np.uint8))
    elif change == 'one more':
        write_mask(file.with_name('c.png'), np.ones((4, 6), np.uint8))
    assert completed(out, 'count', '', masks) == (['v'] if change in ('none', 'one more') else [])


def test_what_has_no_masks_cannot_write_them(tmp_path):
    class Bare(Count):
        predicts = 'points'

    with pytest.raises(ValueError, match='Bare scores no masks, so that there are none to write to'):
        Bare(dump_masks=str(tmp_path))
    assert Bare(out_dir=str(tmp_path)).dump is None


def test_a_metric_begins_anew_after_its_result():
    metric = process(Count(), sample('a', 5))
    assert metric.evaluate(1) == dict(pixels=5.0)
    assert process(metric, sample('b', 3)).evaluate(1) == dict(pixels=3.0)
    assert metric.evaluate(1) == {}


def test_the_order_of_the_entries_of_a_record_does_not_matter(tmp_path):
    out = str(tmp_path)
    process(Count(out_dir=out), sample('b', 1), sample('a', 2), sample('c', 2))
    path = tmp_path / 'videos' / 'count' / 'a.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items()))))
    assert completed(out, 'count', '') == ['a', 'b', 'c']


def test_a_record_holds_the_first_digits_of_the_hash_of_each_mask(tmp_path):
    metric = process(Count(dump_masks=str(tmp_path)), sample('v', 5, output_frames=[False, True]))
    digest = hashlib.sha256((tmp_path / 'v' / 'b.png').read_bytes()).hexdigest()[:8]
    assert metric.results[0]['files'] == {'b.png': digest}
    assert process(Count(), sample('v', 5)).results[0]['files'] is None


def test_predictions_may_be_a_tensor_or_lists():
    masks = sample('v', 5)['pred_masks']
    for given in (masks, torch.from_numpy(masks), masks.tolist()):
        assert np.array_equal(predicted_masks(sample('v', 5, pred_masks=given)), masks)


@pytest.mark.parametrize(('size', 'message'), [((4, 6), None), ((4, 5), '4x6'), ((3, 6), '4x6'), ((6, 4), '4x6')])
def test_a_truth_has_the_size_of_its_video(tmp_path, size, message):
    truth = np.arange(24, dtype=np.uint8).reshape(4, 6)
    truth[0, 1] = 255
    write_mask(tmp_path / 'a.png', truth)
    item = dict(video_id='v', original_size=size)
    if message:
        with pytest.raises(ValueError, match=rf'ground truth .*a\.png is {message} .* are {size[0]}x{size[1]}'):
            read_truth(item, str(tmp_path / 'a.png'))
    else:
        assert np.array_equal(read_truth(item, str(tmp_path / 'a.png')), np.where(truth == 255, 0, truth))
        single = read_truth(dict(item, single_object=True), str(tmp_path / 'a.png'))
        assert np.array_equal(single, truth > 0)


def test_a_result_that_is_empty_lists_its_videos_and_has_no_tables(tmp_path, warnings):
    class Silent(Count):
        def summarise(self, records):
            return {}

    assert process(Silent(out_dir=str(tmp_path)), sample('b', 1), sample('a', 1)).evaluate(2) == {}
    content = json.loads((tmp_path / 'count_results.json').read_text())
    assert (content['global'], content['not_scored'], content['num_videos']) == ({}, ['a', 'b'], 2)
    assert 'per_video' not in content
    assert not list(tmp_path.glob('*.csv'))
    assert 'protocol toy' not in warnings.text
    assert f'results written to {tmp_path}' in warnings.text
