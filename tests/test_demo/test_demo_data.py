"""The bundled videos: complete, small, readable, and their origin is written down."""

import re
import stat
from pathlib import Path

import numpy as np
import pytest

from stt_mm.datasets import DAVIS, VideoFolder
from stt_mm.utils import read_image, read_object_ids

DATA = Path(__file__).resolve().parents[2] / 'demo' / 'data'
MANIFEST = (DATA / 'MANIFEST.md').read_text(encoding='utf-8')
LABELLED = ('bus', 'container', 'garden', 'ice', 'paris', 'salesman', 'soccer', 'stefan')


def test_labelled_videos_have_a_mask_for_each_of_their_25_frames():
    dataset = DAVIS(str(DATA / 'davis'))
    dataset.full_init()
    assert [dataset.get_data_info(index)['video_id'] for index in range(len(dataset))] == list(LABELLED)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert len(info['frame_paths']) == len(info['mask_paths']) == 25
        frame, first, last = (
            read_image(info['frame_paths'][0]),
            read_object_ids(info['mask_paths'][0]),
            read_object_ids(info['mask_paths'][-1]),
        )
        assert frame.shape[:2] == first.shape == last.shape == (160, 240)
        ids = set(np.unique(first)) - {0}
        assert ids == set(range(1, len(ids) + 1))
        assert set(np.unique(last)) <= ids | {0}


def test_training_clips_are_those_of_the_manifest():
    rows = dict(re.findall(r'^\| (\w+) \| (\d+) \| \d+x\d+ \| [\w-]+/[\w-]+:', MANIFEST, flags=re.MULTILINE))
    dataset = VideoFolder(str(DATA / 'clips'), clip_length=2, interval=(1, 2, 3))
    dataset.full_init()
    found = {info['video_id']: len(info['frame_paths']) for info in map(dataset.get_data_info, range(len(dataset)))}
    assert found == {name: int(frames) for name, frames in rows.items()}
    assert 12 <= len(found) <= 16


def test_no_video_is_trained_and_tested_on():
    assert not {path.name for path in (DATA / 'clips').iterdir()} & set(LABELLED)


def test_every_named_licence_text_is_there_and_every_text_is_named():
    named = set(re.findall(r'`(?:licenses/)?([\w+-]+\.txt)`', MANIFEST))
    assert named == {path.name for path in (DATA / 'licenses').iterdir()}
    for name in named:
        assert len((DATA / 'licenses' / name).read_text(encoding='utf-8')) > 500


def test_demo_data_stay_small_and_writable():
    files = [path for path in DATA.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 9e6
    assert all(path.stat().st_mode & stat.S_IWUSR for path in files)


@pytest.mark.parametrize('folder', ['clips', 'davis/JPEGImages/480p'])
def test_frames_of_a_video_differ(folder):
    for video in (DATA / folder).iterdir():
        frames = sorted(video.glob('*.jpg'))
        first, last = read_image(frames[0]).astype(int), read_image(frames[-1]).astype(int)
        assert first.shape == last.shape
        assert np.abs(first - last).mean() > 0.5, video
