"""The checker on made-up copies of the real releases: tiny frames, but all the names and counts that count."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data import make_jhmdb, make_vip, make_youtube_vos_valid

from stt_mm.utils import write_mask

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset' / 'check.py'
spec = importlib.util.spec_from_file_location('dataset_check', TOOL)
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)
# Facts of the releases, typed in here once more.
TWENTY = {'blackswan': 50, 'bmx-trees': 80, 'breakdance': 84, 'camel': 90, 'car-roundabout': 75, 'car-shadow': 40,
          'cows': 104, 'dance-twirl': 90, 'dog': 60, 'drift-chicane': 52, 'drift-straight': 50, 'goat': 90,
          'horsejump-high': 50, 'kite-surf': 50, 'libby': 49, 'motocross-jump': 40, 'paragliding-launch': 80,
          'parkour': 100, 'scooter-black': 43, 'soapbox': 99}


def run(capsys, *args):
    """Exit code, and the lines that were printed."""
    with pytest.raises(SystemExit) as done:
        check.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return done.value.code, [line.strip() for line in captured.out.splitlines() if line.strip()], captured.err


@pytest.fixture
def manifests(tmp_path, monkeypatch):
    """Copies of the manifests that a test may change."""
    folder = tmp_path / 'manifests'
    folder.mkdir()
    for path in check.MANIFESTS.glob('*.json'):
        (folder / path.name).write_text(path.read_text())
    monkeypatch.setattr(check, 'MANIFESTS', folder)

    def change(name, split, **values):
        manifest = json.loads((folder / f'{name}.json').read_text())
        manifest['splits'][split].update(values)
        (folder / f'{name}.json').write_text(json.dumps(manifest))

    return change


@pytest.fixture(scope='module')
def davis16(tmp_path_factory):
    """The 20 videos of DAVIS-2016 val: every name and frame count, 480 pixels high and 2 wide."""
    root = tmp_path_factory.mktemp('davis') / 'DAVIS'
    frame = cv2.imencode('.jpg', np.zeros((480, 2, 3), np.uint8))[1].tobytes()
    write_mask(root / 'one.png', np.ones((480, 2), np.uint8))
    mask = (root / 'one.png').read_bytes()
    for name, number in TWENTY.items():
        for kind, suffix, content in (('JPEGImages', 'jpg', frame), ('Annotations', 'png', mask)):
            folder = root / kind / '480p' / name
            folder.mkdir(parents=True)
            for t in range(number):
                (folder / f'{t:05d}.{suffix}').write_bytes(content)
    for year in ('2016', '2017'):
        (root / 'ImageSets' / year).mkdir(parents=True)
        (root / 'ImageSets' / year / 'val.txt').write_text('\n'.join(TWENTY))
    return root


def test_manifests_agree_with_the_known_totals():
    seventeen = check.load_manifest('davis17')['splits']['val']
    assert (len(seventeen['videos']), sum(seventeen['videos'].values()), seventeen['num_objects']) == (30, 1999, 61)
    sixteen = check.load_manifest('davis16')['splits']['val']
    assert sixteen['videos'] == TWENTY
    assert sixteen['num_frames'] == sum(TWENTY.values())
    valid = {name: check.load_manifest(name)['splits']['valid'] for name in ('ytv18', 'ytv19')}
    assert [(split['num_videos'], split['num_objects']) for split in valid.values()] == [(474, 894), (507, 1063)]
    assert check.load_manifest('vip')['splits']['val']['num_videos'] == 50
    jhmdb = check.load_manifest('jhmdb')
    assert (jhmdb['num_clips'], jhmdb['splits']['1']['num_videos']) == (928, 268)
    for path in check.MANIFESTS.glob('*.json'):
        assert json.loads(path.read_text())['source']


def test_complete_davis(davis16, capsys):
    code, lines, _ = run(capsys, 'davis16', davis16)
    assert code == 0
    assert lines[1:] == ['videos    20 of 20', 'frames    1376 of 1376', 'masks     1376', 'complete']


def test_davis_of_another_year_lacks_ten_videos(davis16, capsys):
    code, lines, _ = run(capsys, 'davis17', davis16)
    assert code == 1
    assert 'videos    20 of 30' in lines
    assert 'objects   20 of 61' in lines
    assert f'problem: no folder {davis16}/JPEGImages/480p/gold-fish' in lines
    assert any('the list of val differs from the release: bike-packing, dogs-jump' in line for line in lines)
    assert lines[-1] == 'incomplete: 24 problems'  # 10 without frames, 10 without masks, the list, three counts


def test_each_thing_that_davis_lacks_is_named(davis16, capsys):
    dog, cows, goat = (davis16 / 'JPEGImages' / '480p' / name for name in ('dog', 'cows', 'goat'))
    mask = davis16 / 'Annotations' / '480p' / 'libby' / '00007.png'
    moved = [(path, path.read_bytes()) for path in (dog / '00003.jpg', dog / '00059.jpg', goat / '00000.jpg', mask,
                                                    cows / '00001.jpg', cows / '00002.jpg')]
    try:
        for path, content in moved:
            path.unlink() if path.parent in (dog, mask.parent) else path.write_bytes(content[: len(content) // 2])
        (cows / '00001.jpg').write_bytes(b'')
        (cows / '00104.jpg').write_bytes(moved[-1][1])
        goat_large = cv2.imencode('.jpg', np.zeros((1080, 2, 3), np.uint8))[1].tobytes()
        (goat / '00000.jpg').write_bytes(goat_large)
        code, lines, _ = run(capsys, 'davis16', davis16)
        problems = [line.removeprefix('problem: ') for line in lines if line.startswith('problem')]
        assert code == 1
        assert problems == [
            'frames: 1374 found, the release has 1376',
            'videos: 19 found, the release has 20',
            f'{cows}: empty files: 00001.jpg',
            f'{cows}: 1 frames that the release does not have: 00104.jpg',
            f'{dog}: 2 of 60 frames missing: 00003.jpg, 00059.jpg',
            f'{goat}: frames are 1080 pixels high, which is not 480p; perhaps the full resolution or a resized copy',
            f'{mask.parent}: 1 of 49 masks missing: 00007.png',
        ]
        _, lines, _ = run(capsys, 'davis16', davis16, '--decode')
        unreadable = [line for line in lines if line.startswith('problem: unreadable')]
        assert [name in line for line, name in zip(unreadable, ('00001.jpg', '00002.jpg'), strict=True)] == [True] * 2
    finally:
        for path, content in moved:
            path.write_bytes(content)
        (cows / '00104.jpg').unlink()


def test_lists_of_windows(davis16, capsys):
    path = next(path for path in (davis16 / 'ImageSets').rglob('val.txt') if '2016' in str(path))
    text = path.read_text()
    try:
        lines = [f'\\JPEGImages\\480p\\{name}\\00000.jpg' for name in TWENTY]
        path.write_bytes('\r\n'.join(lines).encode('utf-16'))
        assert run(capsys, 'davis16', davis16)[0] == 0
        path.write_bytes(b'h\xfctte')
        code, lines, error = run(capsys, 'davis16', davis16)
        assert (code, 'Traceback' in error) == (1, False)
        assert f'problem: unreadable: {path} is no UTF-8 text: byte 1 is 0xfc' in '\n'.join(lines)
    finally:
        path.write_text(text)


def test_youtube_vos(tmp_path, capsys, manifests):
    root = make_youtube_vos_valid(tmp_path / 'ytv', all_frames=True)
    manifests('ytv18', 'valid', num_videos=2, num_objects=4)
    code, lines, _ = run(capsys, 'ytv18', root, '--decode')
    assert code == 0
    assert lines[1:] == ['videos    2 of 2', 'frames    8', 'objects   4 of 4', 'masks     4',
                         'note: meta.json is that of YouTube-VOS 2018', 'complete']
    code, lines, _ = run(capsys, 'ytv19', root)
    assert code == 1
    assert 'problem: this is YouTube-VOS 2018, not YouTube-VOS 2019' in lines
    (root / 'valid_all_frames' / 'JPEGImages' / 'video1' / '00015.jpg').unlink()
    (root / 'valid' / 'Annotations' / 'video0' / '00010.png').unlink()
    code, lines, _ = run(capsys, 'ytv18', root, '--all-frames')
    folder = root / 'valid_all_frames' / 'JPEGImages' / 'video1'
    assert code == 1
    assert f'problem: {folder}: 1 of 4 frames missing: 00015.jpg' in lines
    assert f'problem: {root}/valid/Annotations/video0: 1 of 2 masks missing: 00010.png' in lines


def test_vip(tmp_path, capsys, manifests):
    root = make_vip(tmp_path / 'vip')
    manifests('vip', 'val', num_videos=2)
    code, lines, _ = run(capsys, 'vip', root, '--decode')
    assert code == 0
    assert lines[1] == 'videos    2 of 2'
    folder = root / 'Annotations' / 'Instance_ids' / 'videos2'
    (folder / '000000000026.txt').write_text('1 hat\n')
    (folder / '000000000051.txt').unlink()
    assert run(capsys, 'vip', root, '--labels', 'category')[0] == 0
    mask = next((root / 'Annotations' / 'Category_ids').glob('**/*.png'))
    mask.rename(mask.with_suffix('.bak'))
    code, lines, _ = run(capsys, 'vip', root, '--labels', 'category')
    assert (code, [line for line in lines if line.startswith('problem')]) == (1, [
        f'problem: {mask.parent}: 1 of 3 category masks missing: {mask.name}'])
    assert not any('category' in line for line in run(capsys, 'vip', root, '--labels', 'instance')[1][1:])
    mask.with_suffix('.bak').rename(mask)
    code, lines, _ = run(capsys, 'vip', root, '--decode')
    assert code == 1
    assert [line for line in lines if line.startswith('problem')] == [
        f'problem: {folder}: 1 of 3 instance lists missing: 000000000051.txt',
        f'problem: unreadable: {folder}/000000000026.txt: expected lines "id category", got \'1 hat\'.']
    (root / 'lists' / 'val_videos.txt').unlink()
    assert f'problem: no list {root}/lists/val_videos.txt' in run(capsys, 'vip', root)[1]


def test_jhmdb(tmp_path, capsys, manifests):
    root = make_jhmdb(tmp_path / 'jhmdb')
    manifests('jhmdb', '1', num_videos=2)
    code, lines, _ = run(capsys, 'jhmdb', root)
    assert code == 0
    assert lines[1:3] == ['videos    2 of 2', 'frames    8']
    (root / 'Rename_Images' / 'walk' / 'clip0' / '00002.png').unlink()
    (root / 'joint_positions' / 'walk' / 'clip1' / 'joint_positions.mat').unlink()
    code, lines, _ = run(capsys, 'jhmdb', root)
    assert code == 1
    assert [line for line in lines if line.startswith('problem')] == [
        'problem: videos: 0 found, the release has 2',
        f'problem: {root}/Rename_Images/walk/clip0: 1 of 4 frames missing: 00002.png',
        f'problem: no file {root}/joint_positions/walk/clip1/joint_positions.mat']
    code, _, error = run(capsys, 'jhmdb', root, '--split', '3')
    assert code == 1
    assert error == (f'error: JHMDB: no {root}/splits/<action>_test_split3.txt. Unpack the splits of JHMDB there, or '
                     'give a list of clips (video_list).\n')


def test_long_reports_are_cut_unless_asked(davis16, capsys, monkeypatch):
    monkeypatch.setattr(check, 'MAX_LINES', 3)
    _, lines, _ = run(capsys, 'davis17', davis16)
    assert sum(line.startswith('problem') for line in lines) == 3
    assert '... and 21 more problems; --all lists them' in lines
    _, lines, _ = run(capsys, 'davis17', davis16, '--all')
    assert sum(line.startswith('problem') for line in lines) == 24


def test_command_line(tmp_path):
    done = subprocess.run([sys.executable, str(TOOL), 'vip', str(tmp_path / 'nowhere')], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: no folder {tmp_path}/nowhere.')
