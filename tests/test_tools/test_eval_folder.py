import io
import json
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
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


def test_one_process_two_processes_and_a_plain_folder_give_the_numbers_of_the_metric(davis, tmp_path):
    pred, plain = tmp_path / 'pred', davis / 'Annotations' / '480p'
    for truth, options, out in ((davis, [], 'a'), (davis, ['--workers', 2], 'b'), (plain, [], 'c')):
        done = evaluate(pred, truth, '--task', 'davis17', '--out', tmp_path / out, *options)
        assert done.returncode == 0, done.stderr
    expected = by_metric(DAVIS(str(davis)), DAVISMetric(out_dir=str(tmp_path / 'd')), pred)
    assert 0.1 < expected['J-Mean'] < 0.95
    for name in 'abc':
        assert results(tmp_path / name, 'davis') == results(tmp_path / 'd', 'davis')
        for table in ('davis_per_sequence.csv', 'davis_per_object.csv'):
            assert (tmp_path / name / table).read_bytes() == (tmp_path / 'd' / table).read_bytes()
    assert (tmp_path / 'a' / 'davis_results.json').read_bytes() == (tmp_path / 'b' / 'davis_results.json').read_bytes()
    protocol = json.loads((tmp_path / 'a' / 'davis_results.json').read_text())['protocol']
    assert (protocol['name'], protocol['task'], protocol['faults']) == (f'masks from {pred}', 'davis17', 0)


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
        ('davis16', 'pred', davis, []), ('vip', 'vip_pred', vip, []),
        ('ytv', 'ytv_pred', ytv, ['--seen-categories', tmp_path / 'seen.txt']),
    ):  # fmt: skip
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


def test_all_faults_are_listed_and_may_count_as_empty(davis, tmp_path):
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
    for options in ([], ['--workers', 2]):
        out = tmp_path / 'out'
        done = evaluate(pred, davis, '--task', 'davis17', '--out', out, *options)
        assert done.returncode == 1
        lines = [line for line in done.stdout.splitlines() if line.startswith(str(pred))]
        assert len(lines) == len(expected)
        for line, (path, reason) in zip(lines, expected, strict=True):
            assert line.startswith(f'{path}: ')
            assert reason in line
        assert f'error: 8 faults in {pred}' in done.stderr
        assert 'Traceback' not in done.stderr
        assert not out.exists()
    done = evaluate(pred, davis, '--task', 'davis17', '--out', tmp_path / 'out', '--allow-faulty')
    assert done.returncode == 0, done.stderr
    for name in ('video0/00001', 'video0/00002', 'video0/00003', 'video1/00002', 'video1/00003',
                 *(f'video2/{t:05d}' for t in range(5))):
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
