"""The checker on made-up copies of the real releases: tiny frames, but all the names and counts that count."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from tiny_data import (
    make_badja,
    make_davis,
    make_jhmdb,
    make_object_videos,
    make_sav,
    make_tap_vid,
    make_vip,
    make_youtube_vos_valid,
)

from stt_mm.utils import write_mask

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset' / 'check.py'
spec = importlib.util.spec_from_file_location('dataset_check', TOOL)
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)
# Facts of the releases, typed in here once more.
TWENTY = {
    'blackswan': 50,
    'bmx-trees': 80,
    'breakdance': 84,
    'camel': 90,
    'car-roundabout': 75,
    'car-shadow': 40,
    'cows': 104,
    'dance-twirl': 90,
    'dog': 60,
    'drift-chicane': 52,
    'drift-straight': 50,
    'goat': 90,
    'horsejump-high': 50,
    'kite-surf': 50,
    'libby': 49,
    'motocross-jump': 40,
    'paragliding-launch': 80,
    'parkour': 100,
    'scooter-black': 43,
    'soapbox': 99,
}


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
    moved = [
        (path, path.read_bytes())
        for path in (
            dog / '00003.jpg',
            dog / '00059.jpg',
            goat / '00000.jpg',
            mask,
            cows / '00001.jpg',
            cows / '00002.jpg',
        )
    ]
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
    assert lines[1:] == [
        'videos    2 of 2',
        'frames    8',
        'objects   4 of 4',
        'masks     4',
        'note: meta.json is that of YouTube-VOS 2018',
        'complete',
    ]
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
    assert (code, [line for line in lines if line.startswith('problem')]) == (
        1,
        [f'problem: {mask.parent}: 1 of 3 category masks missing: {mask.name}'],
    )
    assert not any('category' in line for line in run(capsys, 'vip', root, '--labels', 'instance')[1][1:])
    mask.with_suffix('.bak').rename(mask)
    code, lines, _ = run(capsys, 'vip', root, '--decode')
    assert code == 1
    assert [line for line in lines if line.startswith('problem')] == [
        f'problem: {folder}: 1 of 3 instance lists missing: 000000000051.txt',
        f'problem: unreadable: {folder}/000000000026.txt: expected lines "id category", got \'1 hat\'.',
    ]
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
        f'problem: no file {root}/joint_positions/walk/clip1/joint_positions.mat',
    ]
    code, _, error = run(capsys, 'jhmdb', root, '--split', '3')
    assert code == 1
    assert error == (
        f'error: JHMDB: no {root}/splits/<action>_test_split3.txt. Unpack the splits of JHMDB there, or '
        'give a list of clips (video_list).\n'
    )


def test_a_folder_that_is_not_there(tmp_path, capsys):
    code, _, error = run(capsys, 'vip', tmp_path / 'nowhere')
    assert code == 1
    assert error.startswith(f'error: no folder {tmp_path}/nowhere.')


def problems(lines):
    return [line.removeprefix('problem: ') for line in lines if line.startswith('problem')]


def test_every_problem_is_listed(capsys):
    report = check.Report('title', {}, False)
    report.problems = [f'p{k}' for k in range(100)]
    report.notes = ['a note']
    assert report.show() is False
    expected = ['', 'title', '  note: a note', *(f'  problem: p{k}' for k in range(100)), 'incomplete: 100 problems']
    assert capsys.readouterr().out.splitlines() == expected


def test_a_report_adds_up_and_puts_wrong_numbers_first(capsys):
    report = check.Report('title', dict(num_frames=5, num_videos=2, videos={}), False)
    for what, number in (('frames', 3), ('videos', 2), ('masks', 4), ('frames', 1)):
        report.count(what, number)
    report.problems.append('another')
    assert not report.show()
    assert capsys.readouterr().out.splitlines()[2:] == [
        '  frames    4 of 5',
        '  videos    2 of 2',
        '  masks     4',
        '  problem: frames: 4 found, the release has 5',
        '  problem: another',
        'incomplete: 2 problems',
    ]


@pytest.mark.parametrize(('count', 'text'), [(0, ''), (1, '0'), (5, '0, 1, 2, 3, 4'), (6, '0, 1, 2, 3, 4 and 1 more')])
def test_five_names_are_given(count, text):
    assert check.some([str(k) for k in range(count)]) == text


def test_files_of_a_folder(tmp_path):
    report = check.Report('title', {}, True)
    read = []

    def reader(path):
        read.append(path.name)
        if path.name == 'bad':
            raise ValueError(f'{path} is bad')

    (tmp_path / 'full').mkdir()
    for name in ('a', 'b', 'bad', '.hidden', 'other'):
        (tmp_path / 'full' / name).write_bytes(b'1')
    (tmp_path / 'full' / 'empty').touch()
    assert report.names(tmp_path / 'full') == {'a', 'b', 'bad', 'other', 'empty'}
    assert report.files('things', tmp_path / 'full', ['a', 'b', 'bad'], reader) is True
    assert report.files('things', tmp_path / 'full', ['a', 'empty', '.hidden'], reader) is False
    (tmp_path / 'nothing').mkdir()
    assert report.files('things', tmp_path / 'nothing', ['a', 'b'], reader) is False
    assert report.files('things', tmp_path / 'nothing', [], reader) is True
    assert report.files('things', tmp_path / 'none', ['a'], reader) is False
    assert read == ['a', 'b', 'bad', 'a', 'empty']
    assert report.found == dict(things=5)
    assert report.problems == [
        f'unreadable: {tmp_path}/full/bad is bad',
        f'{tmp_path}/full: 1 of 3 things missing: .hidden',
        f'{tmp_path}/full: empty files: empty',
        f'{tmp_path}/nothing: empty, 2 things expected',
        f'no folder {tmp_path}/none',
    ]


@pytest.fixture
def small_davis(tmp_path, manifests):
    """DAVIS-2017 of two videos of three frames, 480 pixels high; no list of official videos says more."""
    root = make_davis(tmp_path / 'DAVIS', num_videos=2, num_frames=3, size=(480, 8))
    manifests('davis17', 'train', num_videos=2)
    manifests('davis17', 'test-dev', num_videos=2)
    lists = root / 'ImageSets' / '2017'
    for split in ('train', 'test-dev'):
        (lists / f'{split}.txt').write_text((lists / 'val.txt').read_text())
    return root


def test_videos_that_the_release_does_not_name_are_those_of_the_list(small_davis, capsys):
    code, lines, _ = run(capsys, 'davis17', small_davis, '--split', 'train')
    assert (code, lines[1:]) == (0, ['videos    2 of 2', 'frames    6', 'masks     6', 'objects   4', 'complete'])
    assert lines[0] == f'DAVIS-2017 train in {small_davis}'
    # Of test-dev the first masks are public.
    for path in small_davis.rglob('*.png'):
        if path.stem != '00000':
            path.unlink()
    code, lines, _ = run(capsys, 'davis17', small_davis, '--split', 'test-dev')
    assert (code, lines[3]) == (0, 'masks     2')
    frames = small_davis / 'JPEGImages' / '480p'
    (frames / 'video0' / 'notes.txt').touch()
    for path in (frames / 'video1').iterdir():
        path.unlink()
    code, lines, _ = run(capsys, 'davis17', small_davis, '--split', 'test-dev')
    assert (code, lines[1:3]) == (1, ['videos    1 of 2', 'frames    3'])
    (small_davis / 'ImageSets' / '2017' / 'test-dev.txt').unlink()
    code, lines, _ = run(capsys, 'davis17', small_davis, '--split', 'test-dev')
    assert problems(lines) == [
        'videos: 0 found, the release has 2',
        f'no list {small_davis}/ImageSets/2017/test-dev.txt',
    ]


def test_a_list_that_is_missing_is_the_only_thing_said_of_the_list(davis16, capsys):
    path = davis16 / 'ImageSets' / '2016' / 'val.txt'
    moved = path.rename(path.with_suffix('.bak'))
    try:
        code, lines, _ = run(capsys, 'davis16', davis16)
        assert (code, problems(lines)) == (1, [f'no list {path}'])
        # The release of 2016 has its lists in a folder of the resolution.
        (davis16 / 'ImageSets' / '480p').mkdir()
        moved.rename(davis16 / 'ImageSets' / '480p' / 'val.txt')
        assert run(capsys, 'davis16', davis16)[0] == 0
        moved = davis16 / 'ImageSets' / '480p' / 'val.txt'
    finally:
        moved.rename(path)


@pytest.mark.parametrize('options', [[], ['--decode']])
def test_a_damaged_first_mask_is_one_problem_among_others(small_davis, capsys, options):
    masks = small_davis / 'Annotations' / '480p'
    (masks / 'video0' / '00000.png').write_bytes((masks / 'video0' / '00000.png').read_bytes()[:60])
    (masks / 'video1' / '00001.png').unlink()
    code, lines, _ = run(capsys, 'davis17', small_davis, '--split', 'train', *options)
    assert (code, lines[4]) == (1, 'objects   2')
    damaged, missing = sorted(problems(lines), key=lambda line: 'missing' in line)
    assert damaged.startswith('unreadable: ')
    assert 'video0/00000.png' in damaged
    assert 'missing: 00001.png' in missing


def test_first_masks_that_are_empty_files_count_no_objects(small_davis, capsys):
    (small_davis / 'Annotations' / '480p' / 'video0' / '00000.png').write_bytes(b'')
    code, lines, _ = run(capsys, 'davis17', small_davis, '--split', 'train')
    assert (code, lines[4]) == (1, 'objects   2')
    assert problems(lines) == [f'{small_davis}/Annotations/480p/video0: empty files: 00000.png']


@pytest.mark.parametrize(
    ('height', 'resolution', 'message'),
    [
        (480, '480p', None),
        (479, '480p', '479 pixels high, which is not 480p; perhaps the full'),
        (481, '480p', '481 pixels high, which is not 480p'),
        (1080, 'Full-Resolution', None),
        (480, 'Full-Resolution', '480 pixels high, which is 480p'),
    ],
)
def test_the_height_says_the_resolution(tmp_path, height, resolution, message):
    report = check.Report('title', {}, False)
    path = tmp_path / '00000.jpg'
    cv2.imwrite(str(path), np.zeros((height, 8, 3), np.uint8))
    check.check_resolution(report, path, resolution)
    assert len(report.problems) == (message is not None)
    assert message is None or f'{tmp_path}: frames are {message}' in report.problems[0]
    path.write_bytes(b'no image')
    check.check_resolution(report, path, resolution)
    assert report.problems[-1].startswith('unreadable: ')
    assert str(path) in report.problems[-1]


def test_full_resolution_is_looked_for_in_its_folders(small_davis, capsys):
    for kind in ('JPEGImages', 'Annotations'):
        (small_davis / kind / '480p').rename(small_davis / kind / 'Full-Resolution')
    code, lines, _ = run(capsys, 'davis17', small_davis, '--split', 'train', '--resolution', 'Full-Resolution')
    assert code == 1
    assert problems(lines) == [
        f'{small_davis}/JPEGImages/Full-Resolution/video{v}: frames are 480 pixels high, which is 480p' for v in (0, 1)
    ]


def test_the_train_split_of_youtube_vos_has_masks_of_all_frames(tmp_path, capsys, manifests):
    root = make_youtube_vos_valid(tmp_path / 'ytv', split='train', annotated=True)
    manifests('ytv19', 'train', num_videos=2, num_objects=4)
    code, lines, _ = run(capsys, 'ytv19', root, '--split', 'train')
    assert (code, lines[1:]) == (
        0,
        [
            'videos    2 of 2',
            'frames    8',
            'objects   4 of 4',
            'masks     8',
            'note: meta.json is that of YouTube-VOS 2019',
            'complete',
        ],
    )
    (root / 'train' / 'JPEGImages' / 'video0' / '00010.jpg').unlink()
    code, lines, _ = run(capsys, 'ytv19', root, '--split', 'train')
    assert (code, lines[1]) == (1, 'videos    1 of 2')


def test_vip_without_frames_or_with_masks_by_video_alone(tmp_path, capsys, manifests):
    root = make_vip(tmp_path / 'vip')
    manifests('vip', 'val', num_videos=2)
    annotations = root / 'Annotations'
    for video in sorted((annotations / 'Category_ids').iterdir()):
        video.rename(annotations / video.name)
    code, lines, _ = run(capsys, 'vip', root)
    assert code == 0
    assert lines[1:6] == ['videos    2 of 2', 'frames    6', 'category masks6', 'instance masks6', 'instance lists6']
    for path in (root / 'Images' / 'videos1').iterdir():
        path.unlink()
    for path in sorted((root / 'Images' / 'videos2').iterdir()):
        path.unlink()
    (root / 'Images' / 'videos2').rmdir()
    for path in (annotations / 'Instance_ids' / 'videos2').iterdir():
        path.unlink()
    (annotations / 'Instance_ids' / 'videos2').rmdir()
    code, lines, _ = run(capsys, 'vip', root, '--labels', 'instance')
    assert (code, problems(lines)) == (
        1,
        [
            'videos: 0 found, the release has 2',
            f'{root}/Images/videos1: no frames',
            f'no folder {root}/Images/videos2',
            f'no folder {annotations}/Instance_ids/videos2',
        ],
    )


def test_each_thing_that_jhmdb_has_wrong_is_named(tmp_path, capsys, manifests):
    root = make_jhmdb(tmp_path / 'jhmdb', num_videos=4)
    manifests('jhmdb', '1', num_videos=4)
    path = check.MANIFESTS / 'jhmdb.json'
    manifest = json.loads(path.read_text()) | dict(num_clips=5, more_images_than_joints=dict(clip1=3, clip2=4))
    path.write_text(json.dumps(manifest))
    joints = root / 'joint_positions' / 'walk'
    (joints / 'clip0' / 'joint_positions.mat').write_bytes(b'no mat')
    savemat(joints / 'clip3' / 'joint_positions.mat', dict(pos_img=np.ones((2, 14, 4))))
    code, lines, _ = run(capsys, 'jhmdb', root)
    assert code == 1
    assert not any('note' in line for line in lines)
    found = problems(lines)
    assert found[0] == 'videos: 3 found, the release has 4'
    assert found[1].startswith('unreadable: ')
    assert f'{joints}/clip0/joint_positions.mat' in found[1]
    assert found[2:] == [
        f'{joints}/clip1/joint_positions.mat: joints of 4 frames, the release has 3',
        f'{joints}/clip3/joint_positions.mat: 14 joints, the release has 15',
    ]
    (joints / 'clip4' / 'joint_positions.mat').unlink()
    code, lines, _ = run(capsys, 'jhmdb', root)
    assert 'note: 4 of 5 clips have joints; the test clips of split 1 alone are checked' in lines


def test_the_help_names_the_splits_and_where_the_counts_come_from(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '400')

    def helped(*args):
        with pytest.raises(SystemExit, match='0'):
            check.main([*args, '--help'])
        return ' '.join(capsys.readouterr().out.split())

    overview = helped()
    assert 'DATASET ...' in overview
    for name in check.CHECKS:
        manifest = check.load_manifest(name)
        assert f'{name} {manifest["name"]}: {", ".join(manifest["splits"])}' in overview
        assert f'{manifest["name"]}. Counts come from: {manifest["source"]}' in helped(name)


def test_mose_and_lvos(tmp_path, capsys, manifests):
    root = make_object_videos(tmp_path / 'mose', split='train')
    make_object_videos(root, split='valid', every=99, births=(0, 0))
    for split in ('train', 'valid'):
        manifests('mose', split, num_videos=2)
        code, lines, _ = run(capsys, 'mose', root, '--split', split, '--decode')
        masks = 'masks     12' if split == 'train' else 'masks     2'
        assert (code, lines[1:]) == (0, ['videos    2 of 2', 'frames    12', masks, 'complete'])
    folder = root / 'train' / 'Annotations' / 'video1'
    (folder / '00000006.png').unlink()
    (root / 'train' / 'JPEGImages' / 'video0' / '00000011.jpg').write_bytes(b'')
    code, lines, _ = run(capsys, 'mose', root, '--split', 'train')
    assert (code, problems(lines)) == (
        1,
        [
            f'{root}/train/JPEGImages/video0: empty files: 00000011.jpg',
            f'{folder}: 1 of 6 masks missing: 00000006.png',
        ],
    )
    lvos = make_object_videos(tmp_path / 'lvos', births=(0, 2))
    manifests('lvos2', 'valid', num_videos=2)
    code, lines, _ = run(capsys, 'lvos2', lvos)
    assert (code, lines[1:]) == (0, ['videos    2 of 2', 'frames    12', 'objects   4', 'masks     10', 'complete'])
    (lvos / 'valid' / 'JPEGImages' / 'video0' / '00000006.jpg').unlink()
    (lvos / 'valid' / 'Annotations' / 'video0' / '00000011.png').unlink()
    code, lines, _ = run(capsys, 'lvos2', lvos)
    assert (code, problems(lines)) == (
        1,
        [
            f'{lvos}/valid/Annotations/video0: 1 of 5 masks missing: 00000011.png',
            f'{lvos}/valid/JPEGImages/video0: masks of frames that are not there: 00000006',
        ],
    )
    (lvos / 'valid' / 'valid_meta.json').unlink()
    code, _, error = run(capsys, 'lvos2', lvos)
    assert (code, 'No such file' in error) == (1, True)


def test_sav(tmp_path, capsys, manifests):
    root = make_sav(tmp_path / 'sav')
    make_sav(root, train=True)
    manifests('sav', 'val', num_videos=2, num_objects=4)
    manifests('sav', 'train', num_videos=2, num_objects=4)
    code, lines, _ = run(capsys, 'sav', root, '--decode')
    assert (code, lines[1:]) == (
        0,
        ['videos    2 of 2', 'frames    26', 'objects   4 of 4', 'masks     16', 'complete'],
    )
    code, lines, _ = run(capsys, 'sav', root, '--split', 'train', '--decode')
    assert (code, lines[1:]) == (0, ['videos    2 of 2', 'frames    2', 'objects   4 of 4', 'complete'])
    (root / 'sav_val' / 'JPEGImages_24fps' / 'sav_000001' / '00008.jpg').unlink()
    (root / 'sav_train' / 'sav_000' / 'sav_000000.mp4').unlink()
    (root / 'sav_train' / 'sav_000' / 'sav_000001_manual.json').write_text('{}')
    code, lines, _ = run(capsys, 'sav', root)
    masks = root / 'sav_val' / 'Annotations_6fps' / 'sav_000001'
    assert problems(lines) == [f'{masks}/{k}: masks of frames that are not there: 00008.png' for k in ('000', '001')]
    code, lines, _ = run(capsys, 'sav', root, '--split', 'train')
    assert len(problems(lines)) == 4
    assert f'{root}/sav_train/sav_000: 1 of 1 frames missing: sav_000000.mp4' in problems(lines)
    assert 'sav_000001_manual.json holds no masks that are known' in problems(lines)[3]


def test_tap_vid(tmp_path, capsys, manifests):
    manifests('tapvid', 'davis', num_videos=2)
    for folders in (False, True):
        root = make_tap_vid(tmp_path / str(folders), folders=folders)
        code, lines, _ = run(capsys, 'tapvid', root, '--decode')
        assert (code, lines[-4:]) == (0, ['videos    2 of 2', 'frames    12', 'queries   6', 'complete'])
    (root / 'video0' / 'frames' / '00003.png').write_bytes(b'no image')
    code, lines, _ = run(capsys, 'tapvid', root, '--decode')
    assert code == 1
    assert any('unreadable: Video video0' in line for line in problems(lines))
    (root / 'video1' / 'points.npz').write_bytes(b'')
    code, lines, _ = run(capsys, 'tapvid', root)
    assert code == 1
    assert any('points.npz cannot be read' in line for line in problems(lines))
    assert run(capsys, 'tapvid', tmp_path / 'nowhere')[0] == 1


def test_badja(tmp_path, capsys, manifests):
    root = make_badja(tmp_path / 'badja')
    manifests('badja', 'davis', num_videos=2, num_masks=8, animals=dict(video0=4, video1=4))
    code, lines, _ = run(capsys, 'badja', root, '--decode')
    assert (code, lines[1:]) == (0, ['videos    2 of 2', 'frames    12', 'masks     8 of 8', 'complete'])
    code, lines, _ = run(capsys, 'badja', root, '--davis-root', tmp_path)
    assert code == 1
    assert f'no folder {tmp_path}/JPEGImages/Full-Resolution/video0' in problems(lines)
    (root / 'joint_annotations' / 'video0.json').unlink()
    path = root / 'joint_annotations' / 'video1.json'
    path.write_text(json.dumps(json.loads(path.read_text())[:3]))
    (root / 'DAVIS' / 'Annotations' / 'Full-Resolution' / 'video1' / '00003.png').unlink()
    code, lines, _ = run(capsys, 'badja', root)
    assert problems(lines)[2:] == [
        f'no file {root}/joint_annotations/video0.json',
        f'{path}: 3 annotated frames, the release has 4',
        f'{root}/DAVIS/Annotations/Full-Resolution/video1: 1 of 3 masks missing: 00003.png',
    ]
