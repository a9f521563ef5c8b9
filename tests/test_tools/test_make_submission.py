import io
import runpy
import shutil
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_data import make_davis, make_youtube_vos_valid

from stt_mm.utils import read_mask, write_mask

TOOL = Path(__file__).parents[2] / 'tools' / 'make_submission.py'
FRAMES = [f'video{v}/{t:05d}.png' for v in (0, 1) for t in (5, 10, 15, 20)]


def submit(*args):
    """Exit code and what is printed."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            runpy.run_path(str(TOOL))['main'](list(map(str, args)))
            code = 0
        except SystemExit as stop:
            code = stop.code
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=error.getvalue())


@pytest.fixture
def ytv(tmp_path):
    """Object 2 appears in the second frame, 00010; predictions have it from there on."""
    root = make_youtube_vos_valid(tmp_path / 'ytv')
    mask = np.zeros((64, 96), np.uint8)
    mask[10:30, 10:30] = 1
    for name in FRAMES:
        if not name.endswith('00005.png'):
            mask[40:50, 40:50] = 2
        write_mask(tmp_path / 'pred' / name, mask * (mask != 2) if name.endswith('00005.png') else mask)
    return root


def test_youtube_vos(ytv, tmp_path):
    target = tmp_path / 'out.zip'
    done = submit(tmp_path / 'pred', ytv, '--task', 'ytv18', '--out', target)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'{target}: 8 masks of 2 videos'
    assert ' 2/2 ' in done.stderr
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == [f'Annotations/{name}' for name in FRAMES]
        assert archive.read('Annotations/video1/00010.png') == (tmp_path / 'pred/video1/00010.png').read_bytes()
    before = target.read_bytes()
    assert submit(tmp_path / 'pred', ytv, '--task', 'ytv19', '--out', target).returncode == 0
    assert target.read_bytes() == before
    done = submit(target, ytv, '--task', 'ytv18', '--check-only')
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'{target}: 8 masks of 2 videos, no faults'
    upper = target.rename(tmp_path / 'OUT.ZIP')
    assert submit(upper, ytv, '--task', 'ytv18', '--check-only').returncode == 0
    done = submit(tmp_path / 'pred', ytv, '--task', 'ytv18', '--check-only')
    assert done.stdout.splitlines()[-1] == f'{tmp_path}/pred: 8 masks of 2 videos, no faults'
    done = submit(tmp_path / 'nowhere', ytv, '--task', 'ytv18', '--check-only')
    assert (done.returncode, 'nowhere' in done.stderr, 'nor zip file. Expected' in done.stderr) == (1, True, True)


def spoil(pred):
    """Seven faults; returns where and what they are."""
    (pred / 'video0' / '00005.png').unlink()
    write_mask(pred / 'video0' / '00010.png', np.zeros((32, 48), np.uint8))
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(pred / 'video0' / '00015.png')
    Image.fromarray(np.zeros((64, 96), bool)).save(pred / 'video0' / '00020.png')
    early, alien = read_mask(pred / 'video1' / '00005.png'), read_mask(pred / 'video1' / '00015.png')
    early[0, 0], alien[0, 0] = 2, 3
    write_mask(pred / 'video1' / '00005.png', early)
    write_mask(pred / 'video1' / '00015.png', alien)
    write_mask(pred / 'video1' / '00012.png', np.zeros((64, 96), np.uint8))
    return {
        'video0/00005.png': 'the mask is missing',
        'video0/00010.png': '32x48 (height x width), but the frame is 64x96',
        'video0/00015.png': 'mode RGB',
        'video0/00020.png': 'mode 1;',
        'video1/00005.png': 'illegal ids [2]; this frame may hold [1]',
        'video1/00015.png': 'illegal ids [3]; this frame may hold [1, 2]',
        'video1/00012.png': 'extra file',
    }


def test_all_faults_are_listed_and_nothing_is_packed(ytv, tmp_path):
    pred, target = tmp_path / 'pred', tmp_path / 'out.zip'
    expected = spoil(pred)
    done = submit(pred, ytv, '--task', 'ytv18', '--out', target)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert f'error: 7 faults in {pred}' in done.stderr
    assert not target.exists()
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(pred))]
    assert len(lines) == 7
    for name, reason in expected.items():
        line = next(line for line in lines if line.startswith(f'{pred / name}: '))
        assert reason in line
    assert submit(pred, ytv, '--task', 'ytv18', '--check-only').returncode == 1


def test_faults_of_a_zip(ytv, tmp_path):
    pred, target = tmp_path / 'pred', tmp_path / 'faulty.zip'
    expected = spoil(pred)
    with zipfile.ZipFile(target, 'w') as archive:
        for path in sorted(pred.rglob('*.png')):
            archive.write(path, f'Annotations/{path.relative_to(pred)}')
        archive.writestr('readme.txt', 'masks')
        with pytest.warns(UserWarning, match='Duplicate name'):
            archive.write(pred / 'video1' / '00010.png', 'Annotations/video1/00010.png')
    done = submit(target, ytv, '--task', 'ytv18', '--check-only')
    assert done.returncode == 1
    expected.update({'video1/00010.png': 'or no second one', '../readme.txt': 'extra file'})
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(target))]
    assert len(lines) == 9
    for name, reason in expected.items():
        where = f'{target}/readme.txt' if 'readme' in name else f'{target}/Annotations/{name}'
        assert any(line.startswith(f'{where}: ') and reason in line for line in lines), where
    assert submit(tmp_path / 'none.zip', ytv, '--task', 'ytv18', '--check-only').returncode == 1
    target.write_bytes(target.read_bytes()[:200])
    done = submit(target, ytv, '--task', 'ytv18', '--check-only')
    assert (done.returncode, 'no zip file, or it is cut off' in done.stderr) == (1, True)


def test_a_damaged_member_of_a_zip(ytv, tmp_path):
    target = tmp_path / 'out.zip'
    assert submit(tmp_path / 'pred', ytv, '--task', 'ytv18', '--out', target).returncode == 0
    mask = (tmp_path / 'pred' / 'video0' / '00015.png').read_bytes()
    data = target.read_bytes()
    position = data.index(b'Annotations/video0/00015.png') + 28 + len(mask) // 2
    target.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
    done = submit(target, ytv, '--task', 'ytv18', '--check-only')
    assert done.returncode == 1
    assert f'{target}/Annotations/video0/00015.png: cannot be unpacked (Bad CRC-32' in done.stdout


def test_davis_test_dev(tmp_path):
    root = make_davis(tmp_path / 'davis', num_objects=3)
    (root / 'ImageSets' / '2017' / 'val.txt').rename(root / 'ImageSets' / '2017' / 'test-dev.txt')
    shutil.copytree(root / 'Annotations' / '480p', tmp_path / 'pred')
    for path in (root / 'Annotations').rglob('*.png'):
        if path.stem != '00000':
            path.unlink()
    target = tmp_path / 'test-dev.zip'
    done = submit(tmp_path / 'pred', root, '--task', 'davis17-test-dev', '--out', target)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == [f'video{v}/{t:05d}.png' for v in (0, 1) for t in range(5)]
    assert submit(target, root, '--task', 'davis17-test-dev', '--check-only').returncode == 0


@pytest.mark.parametrize(
    ('task', 'options', 'kind', 'expected'),
    [
        ('davis17-test-dev', [], 'DAVIS', dict(split='test-dev')),
        ('davis17-test-dev', ['--split', 'val'], 'DAVIS', dict(split='val')),
        ('ytv18', [], 'YouTubeVOSBenchmark', dict(year=2018, split='valid')),
        ('ytv19', ['--split', 'test'], 'YouTubeVOSBenchmark', dict(year=2019, split='test')),
    ],
)
def test_the_data_set_that_a_task_is_for(task, options, kind, expected):
    tool, asked = runpy.run_path(str(TOOL)), []
    build = tool['build_dataset']
    for name in ('DAVIS', 'YouTubeVOSBenchmark'):
        build.__globals__[name] = lambda root, name=name, **options: asked.append((name, root, options))
    build(tool['parse_args'](['pred', 'root', '--task', task, '--check-only', *options]))
    assert asked == [(kind, 'root', expected)]


def test_a_submission_replaces_none_of_its_masks(tmp_path):
    pack = runpy.run_path(str(TOOL))['pack']
    (tmp_path / 'a.ZIP').write_bytes(b'mask')
    with pytest.raises(ValueError, match='read here and would be replaced'):
        pack(tmp_path / 'a.ZIP', {'v/0.png': tmp_path / 'a.ZIP'})
    pack(tmp_path / 'b.ZIP', {'v/1.png': tmp_path / 'a.ZIP', 'v/0.png': tmp_path / 'a.ZIP'})
    with zipfile.ZipFile(tmp_path / 'b.ZIP') as archive:
        assert [(info.filename, info.compress_type) for info in archive.infolist()] == [
            ('v/0.png', zipfile.ZIP_STORED),
            ('v/1.png', zipfile.ZIP_STORED),
        ]
        assert archive.read('v/0.png') == b'mask'


def test_arguments(tmp_path):
    for options in ([], ['--out', 'a.zip', '--check-only']):
        done = submit(tmp_path, tmp_path, '--task', 'ytv18', *options)
        assert (done.returncode, 'either --out FILE.zip or --check-only' in done.stderr) == (2, True)
    assert 'zip file already' in submit('a.zip', tmp_path, '--task', 'ytv18', '--out', 'b.zip').stderr
