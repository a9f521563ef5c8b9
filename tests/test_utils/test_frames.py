import pickle

import numpy as np
import pytest
from PIL import Image
from tiny_data import moving_shapes, shown, texture, write_image, write_timed_video, write_video
from torch.utils.data import DataLoader

from stt_mm.utils import FrameError, FrameSequence, VideoReader, read_image
from stt_mm.utils.video_file import VideoFile


@pytest.fixture
def frame_paths(tmp_path):
    paths = [tmp_path / 'bear' / f'{t:05d}.png' for t in range(3)]
    for t, path in enumerate(paths):
        write_image(path, texture((30, 50), t))
    return paths


@pytest.fixture
def video(tmp_path):
    """60 numbered frames, with a key frame every 20."""
    write_timed_video(tmp_path / 'count.mp4', range(60), options={'g': '20'}, base=(1, 30))
    return tmp_path / 'count.mp4'


def test_frames_of_a_folder(frame_paths):
    sequence = FrameSequence(frame_paths)
    assert (len(sequence), sequence.names, sequence.name) == (3, ['00000', '00001', '00002'], 'bear')
    assert sequence.original_size == (30, 50)
    assert all(np.array_equal(sequence[t], texture((30, 50), t)) for t in range(3))
    assert len(list(sequence)) == 3
    assert repr(sequence) == "FrameSequence('bear', 3 frames)"
    assert [sequence.path(t) for t in range(3)] == [str(path) for path in frame_paths]


def test_a_single_frame_is_a_video(frame_paths):
    sequence = FrameSequence(frame_paths[2:])
    assert (len(sequence), sequence.names, sequence.name) == (1, ['00002'], 'bear')
    assert FrameSequence(frame_paths[:1], name='cub').name == 'cub'


def test_frames_in_memory_are_those_of_the_file_that_they_are_from(frame_paths):
    raw = texture((30, 50), 1)
    images = [frame_paths[0].read_bytes(), raw, b'broken']
    sequence = FrameSequence(['a.pkl'] * 3, name='bear', images=images)
    assert (len(sequence), sequence.names) == (3, ['00000', '00001', '00002'])
    assert np.array_equal(sequence[0], texture((30, 50), 0))
    assert np.array_equal(sequence[1], raw)
    sequence[1][:] = 0  # a copy
    assert raw.any()
    with pytest.raises(FrameError, match=r'Video bear: Frame a\.pkl \(6 bytes\) cannot be used'):
        sequence[2]
    again = pickle.loads(pickle.dumps(sequence))
    assert np.array_equal(again[1], raw)


@pytest.mark.parametrize('size', [(12, 20), (60, 50), (30, 50)])
def test_frames_are_resized_by_lanczos(frame_paths, size):
    sequence = FrameSequence(frame_paths, size=size)
    assert sequence.original_size == size
    expected = Image.fromarray(texture((30, 50), 2)).resize(size[::-1], Image.Resampling.LANCZOS)
    assert np.array_equal(sequence[2], np.asarray(expected))
    assert sequence[2].flags.writeable
    write_image(frame_paths[1], texture((30, 40), 0))
    with pytest.raises(FrameError, match=r'00001\.png is 30x40 .* are 30x50'):
        sequence[1]


def test_nothing_is_decoded_before_it_is_asked_for(frame_paths):
    frame_paths[1].write_bytes(b'broken')
    sequence = FrameSequence(frame_paths)
    assert np.array_equal(sequence[2], texture((30, 50), 2))
    with pytest.raises(FrameError, match=r'Video bear: Frame .*00001\.png'):
        sequence[1]


def test_frames_of_unequal_size(frame_paths):
    write_image(frame_paths[1], texture((30, 40), 0))
    sequence = FrameSequence(frame_paths)
    assert sequence[0].shape == (30, 50, 3)
    with pytest.raises(FrameError, match=r'00001\.png is 30x40 .* are 30x50'):
        sequence[1]


@pytest.mark.parametrize('index', [-1, 3])
def test_index_out_of_range(frame_paths, index):
    with pytest.raises(IndexError, match='3 frames'):
        FrameSequence(frame_paths)[index]


def test_no_frames():
    with pytest.raises(ValueError, match='bear has no frames'):
        FrameSequence([], name='bear')


def test_video_file_in_any_order(video):
    sequence = FrameSequence(video)
    assert (len(sequence), sequence.name, sequence.names[59]) == (60, 'count', '00059')
    assert FrameSequence(video, name='bear').name == 'bear'
    assert sequence.original_size == (48, 96)
    for order in (range(60), (59, 0, 45, 44, 46, 3, 3, 58)):
        assert [shown(sequence[t]) for t in order] == list(order)


def test_video_is_rgb(tmp_path):
    red = np.zeros((5, 64, 64, 3), np.uint8)
    red[..., 0] = 250
    write_video(tmp_path / 'red.avi', red, 'MJPG')
    frame = FrameSequence(tmp_path / 'red.avi')[4]
    assert frame[..., 0].min() > 200
    assert frame[..., 1:].max() < 60


def test_reading_in_order_never_seeks(video, monkeypatch):
    reader = VideoReader(video)
    reader.read(0)
    sought = []
    seek = VideoFile.seek
    monkeypatch.setattr(VideoFile, 'seek', lambda file, time: sought.append(time) or seek(file, time))
    assert [shown(reader.read(t)) for t in range(1, 60)] == list(range(1, 60))
    assert not sought
    assert [shown(reader.read(t)) for t in (3, 10, 45, 44)] == [3, 10, 45, 44]
    assert len(sought) == 2, 'once to frame 40, once more back from 45; the first frames are read from the start'


def test_pickling_and_workers(video):
    sequence = FrameSequence(video)
    assert shown(sequence[7]) == 7
    copy = pickle.loads(pickle.dumps(sequence))
    assert copy._reader._file is None
    assert shown(copy[8]) == 8
    # The parent holds an open decoder when the workers are forked; each must open its own.
    frames = list(DataLoader(sequence, batch_size=None, num_workers=2, timeout=30))
    assert [shown(frame.numpy()) for frame in frames] == list(range(60))
    assert shown(sequence[8]) == 8


def test_container_that_promises_too_much(tmp_path):
    frames, _ = moving_shapes(40, (64, 64), 2)
    write_video(tmp_path / 'a.avi', frames, 'MJPG')
    data = (tmp_path / 'a.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(data[: len(data) // 2])
    sequence = FrameSequence(tmp_path / 'cut.avi')
    assert 0 < len(sequence) < 40
    assert len(list(sequence)) == len(sequence)
    whole = VideoReader(tmp_path / 'a.avi').index
    with pytest.raises(FrameError, match=r'Video cut: Frame 39 of 40 cannot be read from .*cut\.avi \(codec mjpeg\)'):
        FrameSequence(tmp_path / 'cut.avi', index=whole)[39]


def test_file_that_is_no_video(tmp_path, video):
    bad = tmp_path / 'bad.mp4'
    bad.write_bytes(video.read_bytes()[:-1000])
    with pytest.raises(FrameError, match=r'bad\.mp4 cannot be opened \(\d+ bytes\)'):
        FrameSequence(bad)
    with pytest.raises(FileNotFoundError, match=r'Video: no file .*none\.mp4'):
        FrameSequence(tmp_path / 'none.mp4')


def test_missing_frame_names_the_video(frame_paths):
    frame_paths[2].unlink()
    with pytest.raises(FileNotFoundError, match=r'Video cub: Frame not found: .*00002\.png'):
        FrameSequence(frame_paths, name='cub')[2]
    assert np.array_equal(read_image(frame_paths[1]), texture((30, 50), 1))
