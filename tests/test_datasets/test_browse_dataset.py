import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from tiny_data import make_davis, make_jhmdb, make_youtube_vos, make_youtube_vos_valid, moving_shapes, write_image

from stt_mm.datasets import JHMDB, YouTubeVOSBenchmark

TOOL = Path(__file__).parents[2] / 'tools' / 'browse_dataset.py'
spec = importlib.util.spec_from_file_location('browse_dataset', TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
CONFIG = """
default_scope = 'stt_mm'
train_dataloader = dict(dataset=dict(type='YouTubeVOS', data_root='{root}', pipeline=[
    dict(type='LoadFrames'), dict(type='ClipRandomResizedCrop', size=(64, 64)), dict(type='ClipFlip'),
    dict(type='PackClip')]))
val_dataloader = dict(dataset=dict(type='DAVIS', data_root='{root}'))
"""


@pytest.fixture
def config(tmp_path):
    make_youtube_vos(tmp_path / 'data', num_videos=2, num_frames=2)
    make_davis(tmp_path / 'data', num_videos=2, num_frames=3)
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(root=tmp_path / 'data'))
    return path


def browse(config, *args):
    command = [sys.executable, str(TOOL), str(config), '-o', str(config.parent / 'out'), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done, {path.name: cv2.imread(str(path)) for path in sorted((config.parent / 'out').glob('*.png'))}


def test_clips_before_and_after(config):
    done, pictures = browse(config, '-n', '3', '--cfg-options', 'train_dataloader.dataset.pipeline.2.prob=1')
    assert done.returncode == 0, done.stderr
    assert list(pictures) == [f'{n:04d}_video{n % 2}_00000_flip.png' for n in range(3)]
    # Two rows of 256 with 4 of margin each; above two frames of 128x72 at that height, to their right nothing.
    assert pictures['0000_video0_00000_flip.png'].shape == (520, 2 * 455, 3)


def test_first_frames_with_their_masks(config):
    done, pictures = browse(config, '-n', '9', '-p', 'val')
    assert done.returncode == 0, done.stderr
    assert list(pictures) == ['0000_video0.png', '0001_video1.png']
    plain = cv2.imread(str(config.parent / 'data' / 'JPEGImages' / '480p' / 'video0' / '00000.jpg'))
    outside = moving_shapes(1, plain.shape[:2], 2)[1][0] == 0
    changed = (pictures['0000_video0.png'] != plain).any(-1)
    assert not changed[outside].any()
    assert changed[~outside].mean() > 0.9


def test_all_frames_in_which_labels_are_given(tmp_path):
    name, picture = tool.draw_video(YouTubeVOSBenchmark(str(make_youtube_vos_valid(tmp_path, num_videos=1))), 0)
    assert (name, picture.shape) == ('video0', (64, 2 * 96, 3))


def test_joints(tmp_path):
    dataset = JHMDB(str(make_jhmdb(tmp_path, num_videos=1)))
    name, picture = tool.draw_video(dataset, 0)
    changed = (picture != dataset[0]['inputs'][0]).any(-1)
    assert name == 'walk/clip0'
    # Joint j of frame 0 is at (3 j + 2, 2 j + 1).
    assert all(changed[2 * j + 1, 3 * j + 2] for j in range(15))
    assert not changed[40:].any()


def test_phase_that_the_config_lacks(config):
    done, _ = browse(config, '-p', 'test')
    assert done.returncode == 1
    assert 'no test_dataloader' in done.stderr


def test_views_of_stage_1(tmp_path):
    frames, _ = moving_shapes(3, (64, 96), 2)
    for t, frame in enumerate(frames):
        write_image(tmp_path / 'images' / f'{t}.jpg', frame)
    out = tmp_path / 'out'
    done = subprocess.run(
        [sys.executable, str(TOOL), 'configs/pretrain/mocov2_r18_in1k.py', '-o', str(out), '-n', '2', '--cfg-options',
         f'train_dataloader.dataset.data_root={tmp_path}/images'], capture_output=True, text=True, timeout=120,
        cwd=TOOL.parents[1])
    assert done.returncode == 0, done.stderr
    pictures = [cv2.imread(str(path)) for path in sorted(out.glob('*.png'))]
    assert [picture.shape for picture in pictures] == [(256, 512, 3)] * 2
    # Views of one image differ.
    assert all((picture[:, :256] != picture[:, 256:]).any() for picture in pictures)
