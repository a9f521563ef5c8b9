"""Folders of masks and joints, in the layouts of all benchmarks, become a sheet or a video."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_tools.test_command_line import error_of, tool
from tiny_data import make_davis, make_jhmdb, make_vip, make_youtube_vos_valid

from stt_mm.utils import VideoReader, read_image, read_mask, write_mask
from stt_mm.utils.masks import display_colors

LAYOUTS = {
    'davis': (make_davis, 'Annotations/480p', 'JPEGImages/480p', 5),
    'ytv': (lambda root: make_youtube_vos_valid(root, annotated=True), 'valid/Annotations', 'valid/JPEGImages', 4),
    'vip': (make_vip, 'Annotations/Category_ids', 'Images', 3),
}
TITLE, GAP = 20, 4


@pytest.fixture
def show(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*args):
        tool('show_results').main([str(arg) for arg in args])
        return capsys.readouterr().out

    return call


@pytest.fixture
def davis(tmp_path):
    """Masks and frames of two videos."""
    make_davis(tmp_path / 'd')
    shutil.copytree(tmp_path / 'd' / 'Annotations' / '480p', tmp_path / 'masks')
    return 'masks', 'd/JPEGImages/480p'


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_row_for_each_video(show, tmp_path, name):
    make, masks, frames, count = LAYOUTS[name]
    make(tmp_path / 'data')
    shutil.copytree(tmp_path / 'data' / masks, tmp_path / 'masks', ignore=shutil.ignore_patterns('*.txt'))
    assert show('masks', tmp_path / 'data' / frames, '--out', 'new/sheet.png', '--height', 64) == (
        '2 videos in new/sheet.png\n'
    )
    sheet = cv2.imread('new/sheet.png')
    assert sheet.shape == (2 * (TITLE + 64 + GAP), count * (96 + GAP), 3)
    first = sorted((tmp_path / 'masks').rglob('*.png'))[0]
    mask, shown = read_mask(first), sheet[TITLE : TITLE + 64, :96, ::-1].astype(int)
    # The colours of objects are half of what is there, those of the background untouched.
    inner = cv2.erode(np.uint8(mask == mask.max()), np.ones((3, 3))) > 0
    image = cv2.imread(str(next((tmp_path / 'data' / frames / first.parent.name).glob(f'{first.stem}.*'))))[..., ::-1]
    expected = (image[inner].astype(int) + display_colors()[mask.max()]) / 2
    assert np.abs(shown[inner] - expected).max() <= 1
    assert np.array_equal(shown[mask == 0], image[mask == 0])


def test_some_columns_of_some_videos(show, davis):
    for columns, frames in ((1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (9, [0, 1, 2, 3, 4])):
        show(*davis, '--out', 's.png', '--columns', columns, '--height', 64, '--videos', 'video1', '--alpha', 0)
        sheet = cv2.imread('s.png')
        assert sheet.shape == (TITLE + 64 + GAP, len(frames) * (96 + GAP), 3)
        for place, frame in enumerate(frames):
            left = place * (96 + GAP)
            image = cv2.imread(f'd/JPEGImages/480p/video1/{frame:05d}.jpg')
            mask = read_mask(f'masks/video1/{frame:05d}.png')
            assert np.array_equal(sheet[TITLE:, left : left + 96][:64][mask == 0], image[mask == 0])


def test_the_masks_of_one_video_may_lie_in_the_folder_itself(show, davis):
    masks, frames = (f'{folder}/video1' for folder in davis)
    assert show(masks, frames, '--out', 'one.png', '--height', 64) == '1 videos in one.png\n'
    show(*davis, '--out', 'two.png', '--height', 64, '--videos', 'video1')
    assert Path('one.png').read_bytes() == Path('two.png').read_bytes()


def test_a_video_holds_all_frames_of_all_videos(show, tmp_path, davis):
    make_davis(tmp_path / 'wide', num_videos=1, num_frames=2, size=(64, 150))
    shutil.copytree(tmp_path / 'wide' / 'Annotations' / '480p' / 'video0', tmp_path / 'masks' / 'wide')
    shutil.copytree(tmp_path / 'wide' / 'JPEGImages' / '480p' / 'video0', tmp_path / davis[1] / 'wide')
    assert show(*davis, '--out', 'all.mp4', '--height', 64) == '3 videos in all.mp4\n'
    reader = VideoReader('all.mp4')
    assert len(reader) == 12
    assert reader.read(0).shape == (TITLE + 64, 150, 3)
    assert reader.read(0)[:, 110:].max() < 40 < reader.read(11)[:, 110:].max()


def test_a_moving_picture_shows_all_videos_at_once(show, davis):
    show(*davis, '--out', 'all.webp', '--columns', 1, '--height', 64, '--alpha', 0)
    with Image.open('all.webp') as moving:
        assert (moving.size, moving.n_frames, moving.info['loop']) == ((96 + GAP, 2 * (TITLE + 64 + GAP)), 5, 0)
        durations = []
        for number in range(moving.n_frames):
            moving.seek(number)
            moving.load()
            durations.append(moving.info['duration'])
            shown = np.asarray(moving.convert('RGB')).astype(int)
            for row in range(2):
                image = read_image(f'd/JPEGImages/480p/video{row}/{number:05d}.jpg')
                top = row * (TITLE + 64 + GAP) + TITLE
                assert np.abs(shown[top : top + 64, :96] - image).mean() < 8
    assert durations == [1000, 100, 100, 100, 100]


def test_joints_are_skeletons(show, tmp_path):
    make_jhmdb(tmp_path / 'data', num_videos=1, num_frames=2, size=(60, 80))
    (tmp_path / 'joints' / 'walk' / 'clip0').mkdir(parents=True)
    places = [[5.0 * j, 4.0 * j] for j in range(15)]
    rows = [
        dict(index=0, name='00001', points=places),
        dict(index=1, name='00002', points=[None] * 15),
    ]
    (tmp_path / 'joints' / 'walk' / 'clip0' / 'points.json').write_text(json.dumps(rows))
    show('joints', 'data/Rename_Images', '--out', 's.png', '--height', 60)
    sheet = cv2.imread('s.png')[TITLE:, :, ::-1]
    for number in (3, 14):
        x, y = places[number]
        assert sheet[int(y), int(x)].tolist() == display_colors()[number + 1].tolist()
    lost = cv2.imread('data/Rename_Images/walk/clip0/00002.png')[..., ::-1]
    assert np.array_equal(sheet[:60, 84:164], lost)


@pytest.mark.parametrize(
    ('change', 'args', 'message'),
    [
        (None, ['--videos', 'video0', 'gone'], 'masks has no masks or joints of gone'),
        (None, ['--out', 'masks/a.png'], 'masks/a.png is, or lies in, masks, which is read'),
        (None, ['--out', 'a.gif'], 'A video is written as'),
        (lambda: shutil.rmtree('masks'), [], 'masks is no folder'),
        (lambda: [shutil.rmtree(f'masks/video{v}') for v in (0, 1)], [], 'masks has neither masks'),
        (lambda: Path('d/JPEGImages/480p/video1/00002.jpg').unlink(), [], 'video1 holds no image of frame 00002'),
        (lambda: shutil.rmtree('d/JPEGImages/480p/video1'), [], 'video1 holds no image of frame 00000'),
        (lambda: write_mask('masks/video0/00001.png', np.ones((6, 9), np.uint8)), [], '00001.png is 6x9 (height x'),
        (lambda: Path('masks/video0/points.json').write_text('[{"name": 1}]'), [], "points.json cannot be used ('poi"),
        (lambda: Path('masks/video0/points.json').write_text('[3]'), [], 'points.json cannot be used'),
        (lambda: Path('masks/video0/points.json').write_text('[]'), [], 'points.json cannot be used (it has no frame)'),
        (
            lambda: Path('masks/video0/points.json').write_text('[{"name": "a", "points": [[1, 2, 3], [4, 5, 6]]}]'),
            [],
            'points.json cannot be used (too many',
        ),
        (lambda: Path('masks/video0/points.json').write_text('[{"name": "a", "points": [[1]]}]'), [], 'cannot be used'),
    ],
)
def test_what_cannot_be_drawn(davis, tmp_path, monkeypatch, capfd, change, args, message):
    monkeypatch.chdir(tmp_path)
    if change:
        change()
    out = [] if '--out' in args else ['--out', 's.png']
    assert message in error_of(capfd, 'show_results', *davis, *out, *args)
    assert not Path('s.png').exists()


def test_points_that_were_seen_at_another_size_are_scaled(show, tmp_path):
    """TAP-Vid is evaluated at 256 x 256, whatever the size of the frames."""
    make_davis(tmp_path / 'd', num_videos=1, num_frames=1)
    (tmp_path / 'points' / 'video0').mkdir(parents=True)
    row = dict(index=0, name='00000', points=[[127.5, 31.5], None], size=[256, 256])
    (tmp_path / 'points' / 'video0' / 'points.json').write_text(json.dumps([row]))
    show('points', 'd/JPEGImages/480p', '--out', 's.png', '--height', 64)
    sheet = cv2.imread('s.png')[TITLE:, :, ::-1]
    assert sheet[7, 47].tolist() == display_colors()[1].tolist()


def test_a_film_that_is_there_stays_until_the_new_one_is_whole(davis, show, capsys):
    assert show(*davis, '--out', 'all.mp4', '--height', 64).endswith('in all.mp4\n')
    before = Path('all.mp4').read_bytes()
    broken = sorted(Path(davis[0]).rglob('*.png'))[-1]
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(SystemExit):
        show(*davis, '--out', 'all.mp4', '--height', 64)
    assert broken.name in capsys.readouterr().err
    assert Path('all.mp4').read_bytes() == before
    assert not list(Path().glob('.*.mp4'))
