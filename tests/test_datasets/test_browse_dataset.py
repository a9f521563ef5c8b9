import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement
from tiny_data import (
    make_davis,
    make_jhmdb,
    make_tap_vid,
    make_youtube_vos,
    make_youtube_vos_valid,
    moving_shapes,
    write_image,
)

from stt_mm.datasets import JHMDB, TAPVid, YouTubeVOSBenchmark
from stt_mm.visualization import draw_points

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


@pytest.fixture
def browse(config, capsys):
    """Exit code and what is printed, and the pictures by name."""
    out = config.parent / 'out'

    def call(*args, config=config):
        try:
            tool.main([str(config), '-o', str(out), *args])
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr(), {path.name: cv2.imread(str(path)) for path in sorted(out.glob('*.png'))}

    return call


def test_clips_before_and_after(browse, tmp_path):
    code, printed, pictures = browse('-n', '3', '--cfg-options', 'train_dataloader.dataset.pipeline.2.prob=1')
    assert code == 0, printed.err
    assert printed.out.splitlines()[-1] == f'3 pictures in {tmp_path}/out'
    assert ' 3/3 ' in printed.err
    assert list(pictures) == [f'{n:04d}_video{n % 2}_00000_flip.png' for n in range(3)]
    # The draws of one clip differ.
    assert (pictures['0000_video0_00000_flip.png'][260:] != pictures['0002_video0_00000_flip.png'][260:]).any()
    # Two rows of 256 with 4 of margin each; above two frames of 128x72 at that height, to their right nothing.
    assert pictures['0000_video0_00000_flip.png'].shape == (520, 2 * 455, 3)


def test_first_frames_with_their_masks(browse, config):
    code, printed, pictures = browse('-n', '9', '-p', 'val')
    assert code == 0, printed.err
    assert ' 2/2 ' in printed.err
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


@pytest.mark.parametrize('more', ['', 'test_dataloader = dict(batch_size=1)\n'])
def test_phase_that_the_config_lacks(browse, config, more):
    config.write_text(config.read_text() + more)
    code, printed, _ = browse('-p', 'test')
    assert code == 1
    assert 'config.py has no test_dataloader with a dataset; choose another phase' in printed.err


def test_views_of_stage_1(browse, tmp_path):
    frames, _ = moving_shapes(3, (64, 96), 2)
    for t, frame in enumerate(frames):
        write_image(tmp_path / 'images' / f'{t}.jpg', frame)
    init_default_scope('mmengine')  # The transforms of stage 1 are found from the scope of the config.
    root = f'train_dataloader.dataset.data_root={tmp_path}/images'
    code, printed, pictures = browse('-n', '4', '--cfg-options', root, config='pretrain/mocov2_r18_in1k')
    assert code == 0, printed.err
    assert list(pictures) == [f'{n:04d}_{n % 3}.jpg.png' for n in range(4)]
    assert {picture.shape for picture in pictures.values()} == {(256, 512, 3)}
    # Views of one image differ, and so do its draws.
    assert all((picture[:, :256] != picture[:, 256:]).any() for picture in pictures.values())
    assert (pictures['0000_0.jpg.png'] != pictures['0003_0.jpg.png']).any()


def test_views_are_shown_in_their_colours(monkeypatch):
    monkeypatch.setattr(tool, 'HEIGHT', 4)
    asked = []

    class Images:
        def __getitem__(self, key):
            asked.append(key)
            # BGR, as the transforms of stage 1 yield it.
            return dict(
                inputs=[
                    torch.tensor([10, 20, 30 + k], dtype=torch.uint8)[:, None, None].expand(3, 4, width)
                    for k, width in enumerate((2, 3))
                ]
            )

        def get_data_info(self, index):
            return dict(video_id=f'image {index}')

    name, picture = tool.draw_views(Images(), 5, 7)
    assert (name, asked) == ('image 5', [(5, 7, 0)])
    assert picture.tolist() == [[[30, 20, 10]] * 2 + [[31, 20, 10]] * 3] * 4


def clip_of(crop, flip=False, height=40, loads=True):
    """A data set of clips of two frames, black and grey; what the model gets of them are parts of the very frames."""

    def load(results):
        return dict(results, frames=[np.full((height, 60, 3), value, np.uint8) for value in (0, 100)])

    def brighten(results):
        for frame in results['frames']:
            frame += 50
        return results

    def pack(results):
        top, left, rows, columns = crop or (0, 0, 20, 30)
        frames = results['frames'] if loads else [np.full((height, 60, 3), value, np.uint8) for value in (50, 150)]
        clip = np.stack([frame[top : top + rows, left : left + columns] for frame in frames])
        meta = dict(flip=flip) if crop is None else dict(crop=crop, flip=flip)
        return dict(inputs=torch.from_numpy(clip).permute(0, 3, 1, 2), data_samples=BaseDataElement(metainfo=meta))

    transforms = [lambda results: dict(results, index=3), *([load, brighten] if loads else []), pack]
    return SimpleNamespace(
        pipeline=SimpleNamespace(transforms=transforms),
        get_clip=lambda index, draw: dict(video_id=f'video {index}', frame_inds=[draw, 9]),
    )


def test_a_clip_is_shown_as_it_was_and_as_the_model_gets_it(monkeypatch):
    monkeypatch.setattr(tool, 'HEIGHT', 40)
    name, picture = tool.draw_clip(clip_of((10, 20, 20, 20)), 1, 12)
    assert name == 'video 1_00012'
    # The frames as loaded, with a red frame of one pixel just within the crop; below what the model gets, enlarged.
    assert picture.shape == (40 + 4 + 40 + 4, 120, 3)
    above, below = picture[:40], picture[44:84]
    for k, (value, brighter) in enumerate(((0, 50), (100, 150))):
        expected = np.full((40, 60, 3), value)
        expected[10:30, 20:40] = (255, 0, 0)
        expected[11:29, 21:39] = value
        assert (above[:, 60 * k : 60 * k + 60] == expected).all()
        assert (below[:, 40 * k : 40 * k + 40] == brighter).all()
    assert not below[:, 80:].any()
    assert not picture[40:44].any()
    assert not picture[84:].any()


def test_a_clip_without_a_crop_or_without_frames(monkeypatch):
    monkeypatch.setattr(tool, 'HEIGHT', 40)
    name, picture = tool.draw_clip(clip_of(None, flip=True), 0, 3)
    assert name == 'video 0_00003_flip'
    assert (picture[:40] == np.repeat([0, 100], 60)[:, None]).all()
    name, picture = tool.draw_clip(clip_of((0, 0, 20, 30), loads=False), 0, 3)
    assert picture.shape == (44, 120, 3)
    assert (picture[:40] == np.repeat([50, 150], 60)[:, None]).all()


@pytest.mark.parametrize(('height', 'thickness'), [(40, 1), (239, 1), (240, 2), (480, 4)])
def test_the_frame_of_the_crop_grows_with_the_picture(monkeypatch, height, thickness):
    drawn = []
    monkeypatch.setattr(tool.cv2, 'rectangle', lambda frame, *args: drawn.append(args))
    tool.draw_clip(clip_of((1, 2, 3, 4), height=height), 0, 0)
    assert drawn == 2 * [((2, 1), (5, 3), (255, 0, 0), thickness)]


def test_a_video_in_which_nothing_is_given_shows_its_first_frame():
    frames = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
    for meta in ({}, dict(given_masks={})):
        sample = BaseDataElement(metainfo=dict(video_id='v', **meta))
        name, picture = tool.draw_video([dict(inputs=frames, data_samples=sample)], 0)
        assert (name, picture.tolist()) == ('v', frames[0].tolist())


def test_pictures_that_cannot_be_written_are_named(browse, monkeypatch):
    monkeypatch.setattr(tool.cv2, 'imwrite', lambda *_: False)
    code, printed, pictures = browse('-n', '1')
    assert (code, pictures) == (1, {})
    assert 'Could not write ' in printed.err
    assert 'out/0000_video0_00000' in printed.err


def test_the_data_of_the_pictures_is_named_by_eight_digits(browse):
    browse('-n', '1')
    code, printed, _ = browse('-n', '1', '--cfg-options', 'train_dataloader.dataset.pipeline.2.prob=1')
    assert code == 1
    assert re.search(r'out holds 1 pictures of .*config.py, train \(data [0-9a-f]{8}\), ', printed.err)


def test_points_are_drawn_in_each_frame_that_they_are_given_in(tmp_path):
    item = TAPVid(str(make_tap_vid(tmp_path)))[0]
    assert list(item['data_samples'].given_points) == [0, 1, 2]
    item['data_samples'].given_points.pop(0)  # none need be given in the first
    name, picture = tool.draw_video([item], 0)
    assert name == 'video0'
    drawn = [draw_points(item['inputs'][t], item['data_samples'].given_points[t]) for t in (1, 2)]
    assert np.array_equal(picture, np.concatenate(drawn, axis=1))
    assert (drawn[0] != item['inputs'][1]).any()
