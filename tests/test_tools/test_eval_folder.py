import argparse
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from tiny_data import make_davis, make_vip, make_youtube_vos_valid

from stt_mm.datasets import DAVIS, VIP, YouTubeVOSBenchmark
from stt_mm.evaluation.metrics import DAVISMetric, VIPMetric, YouTubeVOSMetric
from stt_mm.utils import read_mask, write_mask

TOOL = Path(__file__).parents[2] / 'tools' / 'eval_folder.py'


def evaluate(*args):
    """Exit code and what is printed; other processes can only be started by a script."""
    if '--workers' in args:
        return subprocess.run([sys.executable, str(TOOL), *map(str, args)], capture_output=True, text=True, timeout=120)
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            runpy.run_path(str(TOOL))['main'](list(map(str, args)))
            code = 0
        except SystemExit as stop:
            code = stop.code
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=error.getvalue())


def shifted(source, target, pixels=2):
    """Copies masks, moved to the right."""
    for path in source.rglob('*.png'):
        write_mask(target / path.relative_to(source), np.roll(read_mask(path), pixels, axis=1))


def results(folder, name):
    """The result file, without the protocol, which names folders."""
    content = json.loads((folder / f'{name}_results.json').read_text())
    content.pop('protocol')
    return content


def by_metric(dataset, metric, pred):
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples'].to_dict()
        paths = [pred / sample['video_id'] / f'{name}.png' for name in sample['frame_names']]
        masks = np.stack([read_mask(path) for path in paths])
        metric.process(None, [dict(sample, pred_masks=masks, protocol=dict(name='masks', version=1))])
    return metric.evaluate(len(dataset))


@pytest.fixture
def davis(tmp_path):
    """Three videos and predictions, each two pixels off."""
    root = make_davis(tmp_path / 'davis', num_videos=3)
    shifted(root / 'Annotations' / '480p', tmp_path / 'pred')
    return root


def test_the_official_layout_and_a_plain_folder_give_the_numbers_of_the_metric(davis, tmp_path):
    pred, plain = tmp_path / 'pred', davis / 'Annotations' / '480p'
    for truth, out in ((davis, 'a'), (plain, 'b')):
        done = evaluate(pred, truth, '--task', 'davis17', '--out', tmp_path / out)
        assert done.returncode == 0, done.stderr
    expected = by_metric(DAVIS(str(davis)), DAVISMetric(out_dir=str(tmp_path / 'd')), pred)
    assert 0.1 < expected['J-Mean'] < 0.95
    for name in 'ab':
        assert results(tmp_path / name, 'davis') == results(tmp_path / 'd', 'davis')
        for table in ('davis_per_sequence.csv', 'davis_per_object.csv'):
            assert (tmp_path / name / table).read_bytes() == (tmp_path / 'd' / table).read_bytes()
    protocol = json.loads((tmp_path / 'a' / 'davis_results.json').read_text())['protocol']
    assert (protocol['name'], protocol['task'], protocol['faults']) == (f'masks from {pred}', 'davis17', 0)


def test_results_of_another_evaluation_stay(davis, tmp_path):
    shutil.copytree(tmp_path / 'pred', tmp_path / 'other')
    path = tmp_path / 'out' / 'davis_results.json'
    for _ in range(2):
        done = evaluate(tmp_path / 'pred', davis, '--task', 'davis17', '--out', tmp_path / 'out')
        assert done.returncode == 0, done.stderr
    before = path.read_bytes()
    for pred, truth in (('other', davis), ('pred', davis / 'Annotations' / '480p')):
        done = evaluate(tmp_path / pred, truth, '--task', 'davis17', '--out', tmp_path / 'out')
        assert done.returncode == 1
        assert f'{path} is of another evaluation (masks from {tmp_path}/pred)' in done.stderr
        assert path.read_bytes() == before
    path.write_text('[]')
    assert evaluate(tmp_path / 'pred', davis, '--task', 'davis17', '--out', tmp_path / 'out').returncode == 1
    assert path.read_text() == '[]'


def test_davis_2016_and_vip_and_youtube_vos(davis, tmp_path):
    (davis / 'ImageSets' / '2016').mkdir()
    (davis / 'ImageSets' / '2016' / 'val.txt').write_text('video0\nvideo1\nvideo2\n')
    for path in (tmp_path / 'pred').rglob('*.png'):
        write_mask(tmp_path / 'one' / path.relative_to(tmp_path / 'pred'), (read_mask(path) > 0).astype(np.uint8))
        write_mask(path, np.where(read_mask(path) > 0, 255, 0).astype(np.uint8))
    vip = make_vip(tmp_path / 'vip')
    shifted(vip / 'Annotations' / 'Category_ids', tmp_path / 'vip_pred')
    ytv = make_youtube_vos_valid(tmp_path / 'ytv', split='train', annotated=True)
    shifted(ytv / 'train' / 'Annotations', tmp_path / 'ytv_pred')
    (tmp_path / 'seen.txt').write_text('dog\n')
    for task, pred, truth, options in (
        ('davis16', 'pred', davis, []),
        ('vip', 'vip_pred', vip, []),
        ('ytv', 'ytv_pred', ytv, ['--seen-categories', tmp_path / 'seen.txt']),
    ):
        done = evaluate(tmp_path / pred, truth, '--task', task, '--out', tmp_path / 'out', *options)
        assert done.returncode == 0, done.stderr
    seen = YouTubeVOSMetric(seen_categories=['dog'])
    assert results(tmp_path / 'out', 'ytv')['global'] == by_metric(
        YouTubeVOSBenchmark(str(ytv), split='train'), seen, tmp_path / 'ytv_pred'
    )
    assert results(tmp_path / 'out', 'vip')['global'] == by_metric(VIP(str(vip)), VIPMetric(), tmp_path / 'vip_pred')
    assert results(tmp_path / 'out', 'davis')['global'] == by_metric(
        DAVIS(str(davis), year=2016), DAVISMetric(), tmp_path / 'one'
    )
    # In a plain folder objects are born where they are first seen, and categories are unknown.
    done = evaluate(tmp_path / 'ytv_pred', ytv / 'train' / 'Annotations', '--task', 'ytv', '--out', tmp_path / 'plain')
    assert done.returncode == 0, done.stderr
    means = [results(tmp_path / name, 'ytv')['global'] for name in ('out', 'plain')]
    assert [means[1][key] for key in ('J-Mean', 'F-Mean')] == [means[0][key] for key in ('J-Mean', 'F-Mean')]
    assert set(means[1]) == {'Overall', 'J-Mean', 'F-Mean'}


def test_all_faults_are_listed_and_may_count_as_empty_in_one_process_and_two(davis, tmp_path):
    pred = tmp_path / 'pred'
    clean = tmp_path / 'clean'
    shutil.copytree(pred, clean)
    (pred / 'video0' / '00001.png').unlink()
    write_mask(pred / 'video0' / '00002.png', np.zeros((32, 48), np.uint8))
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(pred / 'video0' / '00003.png')
    mask = read_mask(pred / 'video1' / '00002.png')
    mask[0, 0] = 7
    write_mask(pred / 'video1' / '00002.png', mask)
    (pred / 'video1' / '00003.png').write_bytes(b'no image')
    (pred / 'video1' / '00009.png').write_bytes((pred / 'video1' / '00000.png').read_bytes())
    (pred / 'video1' / '.hidden').touch()
    shutil.rmtree(pred / 'video2')
    shutil.copytree(clean / 'video2', pred / 'other')
    expected = [
        (pred / 'video0' / '00001.png', 'the mask is missing'),
        (pred / 'video0' / '00002.png', '32x48 (height x width), but the frame is 64x96'),
        (pred / 'video0' / '00003.png', 'image of mode RGB'),
        (pred / 'video1' / '00002.png', 'illegal ids [7]; this frame may hold [1, 2]'),
        (pred / 'video1' / '00003.png', 'cannot be used'),
        (pred / 'video2', 'the video is missing, 5 masks are expected there'),
        (pred / 'other', 'extra folder'),
        (pred / 'video1' / '00009.png', 'extra file'),
    ]
    out = tmp_path / 'out'
    done = evaluate(pred, davis, '--task', 'davis17', '--out', out)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(pred))]
    assert len(lines) == len(expected)
    for line, (path, reason) in zip(lines, expected, strict=True):
        assert line.startswith(f'{path}: ')
        assert reason in line
    assert f'error: 8 faults in {pred}' in done.stderr
    assert 'with --sparse masks of frames without a true one are no faults' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not out.exists()
    for workers, folder in ((1, out), (2, tmp_path / 'two')):
        options = [] if workers == 1 else ['--workers', workers]
        done = evaluate(pred, davis, '--task', 'davis17', '--out', folder, '--allow-faulty', *options)
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stdout.splitlines() if line.startswith(str(pred))] == lines
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / 'two' / path.name).read_bytes()
    for name in (
        'video0/00001',
        'video0/00002',
        'video0/00003',
        'video1/00002',
        'video1/00003',
        *(f'video2/{t:05d}' for t in range(5)),
    ):
        write_mask(clean / f'{name}.png', np.zeros((64, 96), np.uint8))
    by_metric(DAVIS(str(davis)), DAVISMetric(out_dir=str(tmp_path / 'expected')), clean)
    assert results(tmp_path / 'out', 'davis') == results(tmp_path / 'expected', 'davis')
    assert json.loads((tmp_path / 'out' / 'davis_results.json').read_text())['protocol']['faults'] == 8


def test_what_is_no_truth_is_named(davis, tmp_path):
    done = evaluate(tmp_path / 'pred', davis / 'Annotations', '--task', 'davis17')
    assert done.returncode == 1
    assert 'has no ImageSets, so it is not the official layout for davis17, nor does it hold' in done.stderr
    done = evaluate(tmp_path / 'pred', tmp_path / 'nowhere', '--task', 'davis17')
    assert (done.returncode, 'nowhere' in done.stderr, 'Traceback' in done.stderr) == (1, True, False)
    for path in (davis / 'Annotations').rglob('*.png'):
        if path.stem != '00000':
            path.unlink()
    done = evaluate(tmp_path / 'pred', davis, '--task', 'davis17')
    assert (done.returncode, 'Nothing could be scored' in done.stderr) == (1, True)


IDS = hnp.arrays(np.uint8, (4, 3, 4), elements=st.sampled_from([0, 1, 2, 3, 5, 254, 255]))


def official_region(prediction, truth):
    """Mean J per object by the steps of the official evaluation; ``None`` where it ends with an error."""
    truth = np.where(truth == 255, 0, truth)
    objects, (prediction, truth) = truth[0].max(), (prediction[1:-1], truth[1:-1])
    if objects == 0 or prediction.max() > objects:
        return None
    pairs = [[(p == k, t == k) for p, t in zip(prediction, truth, strict=True)] for k in range(1, objects + 1)]
    return [np.mean([(p & t).sum() / (p | t).sum() if (p | t).any() else 1 for p, t in pair]) for pair in pairs]


@settings(max_examples=60, deadline=None)
@given(prediction=IDS, truth=IDS)
def test_every_set_of_ids_is_judged_as_in_a_run_and_by_the_official_evaluation(prediction, truth, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / 'ids'
    for kind, masks in (('pred', prediction), ('truth', truth)):
        for t, mask in enumerate(masks):
            write_mask(folder / kind / 'v' / f'{t}.png', mask)
    tool = runpy.run_path(str(TOOL))
    args = argparse.Namespace(pred=folder / 'pred', gt=folder / 'truth', task='davis17', allow_faulty=False)
    expected = official_region(prediction, truth)
    metric, paths = DAVISMetric(), [str(folder / 'truth' / 'v' / f'{t}.png') for t in range(4)]
    try:
        metric.process(
            None,
            [
                dict(
                    video_id='v',
                    frame_names=list('0123'),
                    original_size=(3, 4),
                    mask_paths=paths,
                    pred_masks=prediction,
                    protocol={},
                )
            ],
        )
    except ValueError:
        assert expected is None
    try:
        video = tool['evaluate_video'](tool['PlainTruth'](args), args, 0)
        records = video.records
        assert bool(records) != bool(video.faults)
    except ValueError:
        records = []
        assert not np.isin(truth[0], [0, 255], invert=True).any()
    assert [entry['record'] for entry in records] == [entry['record'] for entry in metric.results]
    if expected is None:
        assert not records
    else:
        assert [row['J-Mean'] for row in records[0]['record']['objects']] == pytest.approx(expected)


@pytest.mark.parametrize('plain', [False, True])
def test_videos_that_cannot_be_scored_are_listed_before_anything_is(davis, tmp_path, plain):
    for video, kept in (('video0', 2), ('video2', 1)):
        for folder in (davis / 'JPEGImages' / '480p' / video, davis / 'Annotations' / '480p' / video):
            for path in sorted(folder.iterdir())[kept:]:
                path.unlink()
    truth = davis / 'Annotations' / '480p' if plain else davis
    done = evaluate(tmp_path / 'pred', truth, '--task', 'davis17')
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if 'cannot be scored' in line]
    assert [line.split()[2] for line in lines] == ['video0', 'video2']
    assert f'error: 2 videos in {truth}, listed above, cannot be scored' in done.stderr
    done = evaluate(tmp_path / 'pred', truth, '--task', 'davis17', '--allow-faulty', '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert 'extra' not in done.stdout
    content = json.loads((tmp_path / 'out' / 'davis_results.json').read_text())
    assert list(content['per_sequence']) == ['video1']
    assert (content['protocol']['left_out'], content['protocol']['faults']) == (['video0', 'video2'], 0)


@pytest.mark.parametrize('plain', [False, True])
def test_sparse_annotations(davis, tmp_path, plain):
    for kind in ('JPEGImages', 'Annotations'):
        for video in (davis / kind / '480p').iterdir():
            video.rename(davis / kind / video.name)
        (davis / kind / '480p').rmdir()
    for video in (davis / 'Annotations').iterdir():
        (video / '00001.png').unlink()
    options = [davis / 'Annotations'] if plain else [davis, '--resolution', '']
    done = evaluate(tmp_path / 'pred', *options, '--task', 'davis17')
    assert done.returncode == 1
    assert '00001.png' in done.stdout + done.stderr
    done = evaluate(tmp_path / 'pred', *options, '--task', 'davis17', '--sparse', '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stdout + done.stderr
    dataset = DAVIS(str(davis), resolution='', annotations='sparse')
    by_metric(dataset, DAVISMetric(out_dir=str(tmp_path / 'expected')), tmp_path / 'pred')
    assert results(tmp_path / 'out', 'davis') == results(tmp_path / 'expected', 'davis')
    (tmp_path / 'pred' / 'video0' / '00002.png').unlink()
    done = evaluate(tmp_path / 'pred', *options, '--task', 'davis17', '--sparse')
    assert (done.returncode, '00002.png: the mask is missing' in done.stdout) == (1, True)


def test_youtube_vos_without_an_object_is_a_fault(tmp_path):
    for kind in ('pred', 'truth'):
        for t in range(3):
            write_mask(tmp_path / kind / 'v' / f'{t}.png', np.zeros((4, 6), np.uint8))
    done = evaluate(tmp_path / 'pred', tmp_path / 'truth', '--task', 'ytv')
    assert done.returncode == 1
    assert 'video v cannot be scored, no true mask before the last shows an object' in done.stdout


@pytest.mark.parametrize(
    ('task', 'option', 'plain'),
    [
        ('vip', ['--sparse'], False),
        ('ytv', ['--sparse'], True),
        ('ytv', ['--resolution', ''], False),
        ('davis17', ['--split', 'train'], True),
        ('davis17', ['--resolution', '480p'], True),
        ('ytv', ['--video-list', 'list.txt'], True),
    ],
)
def test_options_that_do_nothing_are_refused(davis, tmp_path, task, option, plain):
    truth = davis / 'Annotations' / '480p' if plain else davis
    done = evaluate(tmp_path / 'pred', truth, '--task', task, *option)
    assert done.returncode == 2
    assert re.search(f'error: .*{option[0]}.* for ', done.stderr)


def test_one_video_needs_no_other_process(davis, tmp_path):
    for folder in (davis / 'Annotations' / '480p', tmp_path / 'pred'):
        for video in ('video1', 'video2'):
            shutil.rmtree(folder / video)
    done = evaluate(tmp_path / 'pred', davis / 'Annotations' / '480p', '--task', 'davis17', '--workers=8')
    assert done.returncode == 0, done.stderr


def test_a_result_says_what_was_scored_against_what(davis, tmp_path):
    (tmp_path / 'pred' / 'video1' / '00001.png').unlink()
    out = tmp_path / 'out'
    done = evaluate(tmp_path / 'pred', davis, '--task', 'davis17', '--out', out, '--allow-faulty')
    assert done.returncode == 0, done.stderr
    assert json.loads((out / 'davis_results.json').read_text())['protocol'] == dict(
        name=f'masks from {tmp_path}/pred',
        version=1,
        truth=str(davis),
        task='davis17',
        split='val',
        faults=1,
        left_out=[],
    )


@pytest.fixture
def tool():
    """The functions of the tool, by name."""
    return SimpleNamespace(**runpy.run_path(str(TOOL)))


def arguments(tool, *words):
    return tool.parse_args(list(map(str, words)))


@pytest.fixture
def plain(tmp_path):
    """A plain folder with a video of three frames: object 3 from the first on, 1 from the second, void in both."""
    masks = np.zeros((3, 2, 4), np.uint8)
    masks[:, 0, 0], masks[1:, 1, 1], masks[:2, 1, 3] = 3, 1, 255
    for t, mask in enumerate(masks):
        write_mask(tmp_path / 'truth' / 'v' / f'{t}.png', mask)
    (tmp_path / 'truth' / '.hidden').mkdir()
    (tmp_path / 'truth' / 'notes.txt').touch()
    return tmp_path / 'truth'


@pytest.mark.parametrize(
    ('task', 'first', 'objects', 'single'),
    [
        ('davis17', [[3, 0, 0, 0], [0, 0, 0, 0]], {}, False),
        ('davis16', [[1, 0, 0, 0], [0, 0, 0, 1]], {}, True),
        ('vip', [[3, 0, 0, 0], [0, 0, 0, 0]], {}, False),
        ('ytv', [[3, 0, 0, 0], [0, 0, 0, 0]], {1: 1, 3: 0}, False),
    ],
)
def test_samples_of_a_plain_folder(tool, plain, task, first, objects, single):
    truth = tool.PlainTruth(arguments(tool, 'p', plain, '--task', task))
    assert len(truth) == 1
    sample = truth[0]
    assert sample.pop('given_masks')[0].tolist() == first
    assert list(sample['objects']) == sorted(objects)
    assert sample == dict(
        video_id='v',
        frame_names=['0', '1', '2'],
        original_size=(2, 4),
        single_object=single,
        mask_paths=[str(plain / 'v' / f'{t}.png') for t in range(3)],
        output_frames=[True] * 3,
        objects={number: dict(category=None, first_frame=t) for number, t in objects.items()},
    )
    assert len(tool.PlainTruth(arguments(tool, 'p', plain, '--task', task), ['v'])) == 0
    assert len(tool.PlainTruth(arguments(tool, 'p', plain, '--task', task), ['other'])) == 1


@pytest.mark.parametrize(
    ('task', 'first', 'last', 'reason'),
    [
        # (number of the frame that shows an object, its id), or None
        *((task, None, 0, 'masks: 1, of which the first is given') for task in ('davis17', 'davis16', 'vip', 'ytv')),
        ('vip', None, 1, None),
        ('ytv', None, 1, 'no true mask before the last shows an object'),
        ('ytv', (1, 1), 1, 'no true mask before the last shows an object'),
        ('ytv', (0, 1), 1, None),
        ('ytv', (1, 1), 2, None),
        ('ytv', (1, 255), 2, 'no true mask before the last shows an object'),
        ('davis17', None, 2, 'the first mask, {}, shows no object'),
        ('davis17', (1, 1), 2, 'the first mask, {}, shows no'),
        ('davis17', (0, 255), 2, 'the first mask, {}, shows no object, as 255 is void'),
        ('davis16', (0, 255), 2, None),
        ('davis17', (0, 1), 1, 'masks: 2, of which the first and the last do not count'),
        ('davis17', (0, 1), 2, None),
    ],
)
def test_what_a_plain_video_lacks_for_its_score(tool, tmp_path, task, first, last, reason):
    for t in range(last + 1):
        mask = np.zeros((2, 2), np.uint8)
        mask[0, 0] = first[1] if first is not None and first[0] == t else 0
        write_mask(tmp_path / 'truth' / 'v' / f'{t}.png', mask)
    args = arguments(tool, 'p', tmp_path / 'truth', '--task', task)
    if reason is None:
        assert len(tool.PlainTruth(args)) == 1
    else:
        with pytest.raises(ValueError, match=re.escape(reason.format(tmp_path / 'truth' / 'v' / '0.png'))):
            tool.PlainTruth(args)


def test_a_folder_without_masks_is_no_truth(tool, tmp_path):
    args = arguments(tool, 'p', tmp_path, '--task', 'davis17')
    with pytest.raises(FileNotFoundError, match=r'nor does it hold <video>/<frame>\.png\. Give one of the two'):
        tool.PlainTruth(args)
    write_mask(tmp_path / 'a' / '0.png', np.ones((2, 2), np.uint8))
    (tmp_path / 'b').mkdir()
    with pytest.raises(FileNotFoundError, match=r'<video>/<frame>\.png, as there are no masks in b\. Give'):
        tool.PlainTruth(args)


@pytest.mark.parametrize(
    ('words', 'kind', 'options'),
    [
        (['vip'], 'VIP', dict(split='val')),
        (['vip', '--split', 'test'], 'VIP', dict(split='test')),
        (['ytv'], 'YouTubeVOSBenchmark', dict(split='train', video_list=None)),
        (['ytv', '--split', 'valid', '--video-list', 'l'], 'YouTubeVOSBenchmark', dict(split='valid', video_list='l')),
        (['davis17'], 'DAVIS', dict(split='val', year=2017, resolution='480p', annotations='full')),
        (
            ['davis16', '--split', 'train', '--resolution', '', '--sparse'],
            'DAVIS',
            dict(split='train', year=2016, resolution='', annotations='sparse'),
        ),
    ],
)
def test_the_data_set_of_a_task(tool, words, kind, options):
    asked, made = [], tool.OfficialTruth.__init__.__globals__
    for name in ('VIP', 'YouTubeVOSBenchmark', 'DAVIS'):
        made[name] = lambda root, name=name, **options: asked.append((name, root, options)) or [1, 2]
    args = arguments(tool, 'p', 'g', '--task', *words)
    assert len(tool.OfficialTruth(args, ['x'])) == 2
    assert asked == [(kind, 'g', dict(options, skip=['x']))]


@pytest.mark.parametrize(
    ('task', 'ids', 'first', 'inner'),
    [
        ('davis17', {1, 2, 3}, set(range(256)), {1, 2, 3}),
        ('davis16', {1, 255}, set(range(256)), {1, 255}),
        ('vip', set(range(1, 20)), set(range(1, 20)), set(range(1, 20))),
        ('ytv', {1, 3}, {1, 3}, {1, 3}),
    ],
)
def test_ids_that_a_prediction_may_hold(tool, plain, task, ids, first, inner):
    sample = tool.PlainTruth(arguments(tool, 'p', plain, '--task', task))[0]
    assert set(tool.legal_ids(task, sample)) == ids
    expected = tool.wanted_masks(task, sample)
    assert expected.size == (2, 4)
    # The first and the last frame do not count in DAVIS.
    assert {name: set(allowed) for name, allowed in expected.frames.items()} == {'0': first, '1': inner, '2': first}


def test_the_metric_of_a_task(tool):
    seen = Path('seen')
    for words, kind in (
        (['davis17'], DAVISMetric),
        (['davis16'], DAVISMetric),
        (['vip'], VIPMetric),
        (['ytv'], YouTubeVOSMetric),
    ):
        metric = tool.build_metric(arguments(tool, 'p', 'g', '--task', *words), 'out')
        assert type(metric) is kind
        assert str(metric.out_dir) == 'out'
        assert tool.build_metric(arguments(tool, 'p', 'g', '--task', *words)).out_dir is None
    with pytest.raises(FileNotFoundError, match='seen'):
        tool.build_metric(arguments(tool, 'p', 'g', '--task', 'ytv', '--seen-categories', seen))


def test_predictions_of_davis_2016_are_any_id_above_0(tool, plain, tmp_path):
    for number in (1, 255):
        for t in range(3):
            write_mask(tmp_path / str(number) / 'v' / f'{t}.png', np.array([[number, 0, 0, 0], [0, number, 0, number]]))
        args = arguments(tool, tmp_path / str(number), plain, '--task', 'davis16')
        video = tool.evaluate_video(tool.PlainTruth(args), args, 0)
        assert video.faults == []
        assert video.records[0]['record']['objects'][0]['J-Mean'] == 1


def test_faulty_masks_count_as_empty_only_if_allowed(tool, plain, tmp_path):
    for t in (0, 2):
        write_mask(tmp_path / 'pred' / 'v' / f'{t}.png', np.full((2, 4), 3))
    args = arguments(tool, tmp_path / 'pred', plain, '--task', 'davis17')
    video = tool.evaluate_video(tool.PlainTruth(args), args, 0)
    assert (video.video_id, video.records) == ('v', [])
    assert [fault.startswith(f'{tmp_path}/pred/v/1.png: ') for fault in video.faults] == [True]
    args.allow_faulty = True
    video = tool.evaluate_video(tool.PlainTruth(args), args, 0)
    assert [entry['J-Mean'] for entry in video.records[0]['record']['objects']] == [0, 1, 0]


@pytest.mark.parametrize(('workers', 'videos', 'processes'), [(1, 3, 0), (2, 1, 0), (2, 3, 2), (8, 3, 3)])
def test_processes_are_as_many_as_are_of_use(tool, workers, videos, processes):
    args = arguments(tool, 'p', 'g', '--task', 'vip', '--workers', workers)
    loader = tool.evaluate_videos('abc'[:videos], args)
    assert loader.num_workers == processes
    if not processes:
        loader.collate_fn = str
        assert list(loader) == ['0', '1', '2'][:videos]


def test_a_data_set_in_its_layout_takes_its_options(tool, davis):
    args = arguments(tool, 'p', davis, '--task', 'davis17', '--split', 'val', '--resolution', '480p')
    assert (args.split, args.resolution) == ('val', '480p')


def test_when_no_video_can_be_scored(davis, tmp_path):
    for folder in (davis / 'Annotations' / '480p').iterdir():
        for path in sorted(folder.iterdir())[2:]:
            path.unlink()
    done = evaluate(tmp_path / 'pred', davis / 'Annotations' / '480p', '--task', 'davis17', '--allow-faulty')
    assert done.returncode == 1
    assert f'error: Nothing can be scored: {davis}/Annotations/480p has no other videos' in done.stderr


def test_the_bar_goes_by_videos(davis, tmp_path):
    assert ' 3/3 ' in evaluate(tmp_path / 'pred', davis, '--task', 'davis17').stderr
