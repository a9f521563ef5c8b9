import os
from itertools import islice

import numpy as np
import pytest
from tiny_data import moving_shapes, shown, write_image, write_timed_video, write_video

from stt_mm.datasets import TrainSampler, VideoFolder
from stt_mm.utils import FrameError
from stt_mm.utils.video_file import VideoFile

PIPELINE = (dict(type='LoadFrames'), dict(type='ClipResize', size=(32, 32)), dict(type='PackClip'))


@pytest.fixture
def root(tmp_path):
    """A folder of frames, a nested one, and a video file between them."""
    frames, _ = moving_shapes(12, (48, 64), 2)
    for name, num in (('b2', 3), ('b10/inner', 12)):
        for t in range(num):
            write_image(tmp_path / name / f'frame{t}.png', frames[t])
    write_video(tmp_path / 'b10' / 'film.AVI', frames, 'MJPG')
    (tmp_path / 'notes.txt').write_text('no video')
    write_image(tmp_path / '.cache' / '0.png', frames[0])
    return tmp_path


def videos(dataset):
    return {info['video_id']: info for info in map(dataset.get_data_info, range(len(dataset)))}


def test_finds_folders_and_files_at_any_depth(root):
    found = videos(VideoFolder(str(root)))
    assert list(found) == ['b2', 'b10/film.AVI', 'b10/inner']
    assert found['b10/film.AVI']['num_frames'] == 12
    names = [os.path.basename(path) for path in found['b10/inner']['frame_paths']]
    assert names == [f'frame{t}.png' for t in range(12)]


def test_root_may_be_a_video_itself(root):
    assert list(videos(VideoFolder(str(root / 'b10' / 'inner')))) == ['inner']


def test_links_are_followed_but_not_in_circles(root):
    (root / 'b2' / 'again').symlink_to(root)
    assert len(VideoFolder(str(root))) == 3
    (root / 'alone').mkdir()
    (root / 'alone' / 'link').symlink_to(root / 'b10')
    assert list(videos(VideoFolder(str(root / 'alone')))) == ['link/film.AVI', 'link/inner']


def test_file_and_folder_give_the_same_frames(root):
    dataset = VideoFolder(str(root), pipeline=PIPELINE, interval=4)
    for draw in range(6):
        item = dataset[(0, draw)]
        inds, clip = item['data_samples'].frame_inds, item['inputs'].numpy().astype(float)
        folder_clip = VideoFolder(str(root / 'b10' / 'inner'), pipeline=PIPELINE).pipeline(
            dict(videos(dataset)['b10/inner'], frame_inds=inds)
        )
        assert item['data_samples'].video_id == 'b10/film.AVI'
        assert inds[1] - inds[0] == 4
        # MJPG is lossy; the wrong frame or swapped channels differ by far more.
        assert np.abs(clip - folder_clip['inputs'].numpy()).mean() < 8


def test_broken_video_file(root):
    (root / 'bad.mp4').write_bytes(b'no video at all')
    with pytest.raises(FrameError, match=r'bad\.mp4 cannot be opened'):
        VideoFolder(str(root))
    dataset = VideoFolder(str(root), on_error='skip')
    assert (len(dataset), dataset.num_skipped) == (3, 1)


def test_video_file_that_is_cut_off(root):
    film = root / 'b10' / 'film.AVI'
    film.write_bytes(film.read_bytes()[:-3000])
    with pytest.raises(FrameError, match=r"film\.AVI is cut off or damaged after \d+ frames.*on_error='skip'"):
        VideoFolder(str(root))
    dataset = VideoFolder(str(root), on_error='skip')
    assert (list(videos(dataset)), dataset.num_skipped) == (['b2', 'b10/inner'], 1)


def test_clips_of_a_varying_frame_rate_hold_the_frames_that_they_name(tmp_path):
    write_timed_video(
        tmp_path / 'a.mp4', np.cumsum(np.random.default_rng(0).integers(15, 90, 100)).tolist(), options={'g': '30'}
    )
    dataset = VideoFolder(str(tmp_path), pipeline=(dict(type='LoadFrames'),), clip_length=3, interval=(1, 7))
    for draw in range(20):
        clip = dataset[(0, draw)]
        assert [shown(frame) for frame in clip['frames']] == clip['frame_inds']


def test_a_file_is_searched_for_its_frames_once(tmp_path, monkeypatch):
    write_timed_video(tmp_path / 'a.mp4', range(0, 400, 40))
    dataset = VideoFolder(str(tmp_path), pipeline=PIPELINE)
    monkeypatch.setattr(VideoFile, 'packet_index', lambda file: pytest.fail('searched again'))
    assert dataset[(0, 3)]['inputs'].shape[0] == 2


def test_one_frame_video_is_left_out(root):
    for t in (1, 2):
        (root / 'b2' / f'frame{t}.png').unlink()
    assert list(videos(VideoFolder(str(root)))) == ['b10/film.AVI', 'b10/inner']
    assert len(VideoFolder(str(root), clip_length=1)) == 3


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'neither images nor video files in .*Expected <data_root>'):
        VideoFolder(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='no folder .*nowhere'):
        VideoFolder(str(tmp_path / 'nowhere'))


def test_sampler_reaches_every_video(root):
    dataset = VideoFolder(str(root), pipeline=PIPELINE)
    names = {dataset[key]['data_samples'].video_id for key in islice(TrainSampler(dataset, seed=1), 3)}
    assert names == set(videos(dataset))


def test_hidden_video_files_are_left_out(root):
    (root / 'b10' / '.film.avi').write_bytes((root / 'b10' / 'film.AVI').read_bytes())
    assert len(VideoFolder(str(root))) == 3


def test_nothing_but_files_that_cannot_be_opened(tmp_path):
    (tmp_path / 'bad.mp4').write_bytes(b'no video at all')
    with pytest.raises(ValueError, match=r'VideoFolder: .* holds no video\. Expected <data_root>/'):
        VideoFolder(str(tmp_path), on_error='skip')


@pytest.mark.parametrize('interval', [1, 2])
def test_a_clip_of_a_file_may_end_with_its_last_frame(root, interval):
    dataset = VideoFolder(str(root), interval=interval)
    ends = {dataset.get_clip(1, draw)['frame_inds'][-1] for draw in range(100)}
    assert ends == set(range(interval, 12))


def test_video_files_of_every_usual_name_are_taken(tmp_path):
    write_timed_video(tmp_path / 'a.mp4', range(4), base=(1, 30))
    names = ['b.MPG', 'c.mpeg', 'd.ts', 'e.m2ts', 'f.mts', 'g.flv', 'h.wmv', 'i.3gp', 'j.ogv', 'k.m4v']
    for name in names:
        (tmp_path / name).write_bytes((tmp_path / 'a.mp4').read_bytes())
    (tmp_path / 'notes.txt').touch()
    assert sorted(videos(VideoFolder(str(tmp_path)))) == ['a.mp4', *names]
