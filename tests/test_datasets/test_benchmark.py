import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from scipy.io import savemat
from tiny_data import make_badja, make_davis, make_jhmdb, make_tap_vid, make_vip, make_youtube_vos_valid

from stt_mm.datasets import BADJA, DAVIS, JHMDB, VIP, TAPVid, UnscorableVideos, VideoBenchmark, YouTubeVOSBenchmark
from stt_mm.errors import InputError
from stt_mm.utils import FrameSequence, read_mask, write_mask

DATASETS = {
    DAVIS: (make_davis, ['video0', 'video1', 'video2']),
    YouTubeVOSBenchmark: (make_youtube_vos_valid, ['video0', 'video1', 'video2']),
    VIP: (make_vip, ['videos1', 'videos2', 'videos3']),
    JHMDB: (make_jhmdb, ['walk/clip0', 'walk/clip1', 'walk/clip2']),
    TAPVid: (partial(make_tap_vid, folders=True), ['video0', 'video1', 'video2']),
    BADJA: (make_badja, ['video0', 'video1', 'video2']),
}


@pytest.fixture(params=DATASETS, ids=lambda dataset: dataset.__name__)
def case(request, tmp_path):
    make, video_ids = DATASETS[request.param]
    make(tmp_path, num_videos=3, num_frames=4)
    return request.param, str(tmp_path), video_ids


def ids_of(dataset):
    return [dataset.get_data_info(index)['video_id'] for index in range(len(dataset))]


def test_items_have_the_common_form(case):
    build, root, video_ids = case
    dataset = build(root)
    assert isinstance(dataset, VideoBenchmark)
    assert ids_of(dataset) == video_ids
    item = dataset[-1]
    frames, sample = item['inputs'], item['data_samples']
    assert set(item) == {'inputs', 'data_samples'}
    assert isinstance(frames, FrameSequence)
    assert len(frames) == dataset.num_frames(2) == 4
    assert sample.video_id == video_ids[2]
    assert sample.frame_names == frames.names
    assert sample.original_size == frames[0].shape[:2]
    assert sample.metainfo['max_frames'] is None
    assert ('given_masks' in sample) != ('given_points' in sample)
    with pytest.raises(IndexError):
        dataset[3]


def test_max_frames_cuts_all_that_has_one_entry_per_frame(case):
    build, root, _ = case
    dataset = build(root, max_frames=3)
    sample = dataset[0]['data_samples']
    assert dataset.num_frames(0) == sample.metainfo['max_frames'] == 3
    lengths = {
        key: len(sample.get(key)) for key in ('frame_names', 'mask_paths', 'points', 'output_frames') if key in sample
    }
    assert len(lengths) >= 2
    assert set(lengths.values()) == {3}, lengths


@pytest.mark.parametrize(
    ('indices', 'skip', 'expected'),
    [
        (2, ('0',), '1'),
        (-2, ('1',), '2'),
        ([2, 0], ('2', 'none'), '0'),
        (None, '012', ''),
    ],
)
def test_skip_leaves_out_of_what_indices_choose(case, indices, skip, expected):
    build, root, video_ids = case
    skip = [video_ids[int(k)] if k.isdecimal() else k for k in skip]
    dataset = build(root, indices=indices, skip=skip)
    assert ids_of(dataset) == [video_ids[int(k)] for k in expected]
    assert len(dataset) == len(expected)


def test_arguments_out_of_range(case):
    build, root, _ = case
    with pytest.raises(ValueError, match='max_frames must be 1 or more'):
        build(root, max_frames=0)
    with pytest.raises(ValueError, match=r"Write \['video0'\]"):
        build(root, skip='video0')


class Listed(VideoBenchmark):
    """Videos as they are handed over; for errors that the real ones cannot have."""

    def __init__(self, video_ids):
        self.video_ids = video_ids
        super().__init__('somewhere', 'Listed')

    def load_videos(self):
        return [dict(video_id=video_id, frame_paths=['0.png']) for video_id in self.video_ids]

    def load_labels(self, video, frames):
        return {}, {}


def test_no_video_and_a_video_twice():
    with pytest.raises(ValueError, match='Listed: no video in somewhere'):
        Listed([])
    with pytest.raises(ValueError, match=r'more than once: bear\. '):
        Listed(['bear', 'dog', 'bear'])


def test_what_is_used_and_what_is_left_out_is_logged(tmp_path, caplog):
    make_davis(tmp_path, num_videos=3, num_frames=4)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        caplog.handler.setLevel('INFO')
        DAVIS(str(tmp_path))
        DAVIS(str(tmp_path), max_frames=3, indices=2, skip=['video1'])
    finally:
        logger.removeHandler(caplog.handler)
    assert f'DAVIS-2017 val: 3 videos, 12 frames ({tmp_path})' in caplog.text
    assert f'DAVIS-2017 val: 1 videos, 3 frames, 1 left out ({tmp_path})' in caplog.text


def test_videos_that_cannot_be_scored_are_told_across_processes():
    error = pickle.loads(pickle.dumps(UnscorableVideos('DAVIS', dict(bear='no object', dog='one frame'))))
    assert str(error).startswith('DAVIS: 2 videos cannot be scored (bear: no object; dog: one frame). Leave them')
    assert 'skip=[bear,dog]' in str(error)


def text_files(root):
    return [path for pattern in ('*.txt', '*.json') for path in Path(root).rglob(pattern)]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-32'])
def test_lists_of_any_encoding(case, encoding):
    build, root, video_ids = case
    options = dict(labels='instance') if build is VIP else dict(video_list='val_list.txt') if build is JHMDB else {}
    expected = build(root, **options)[0]['data_samples']
    for path in text_files(root):
        path.write_bytes(path.read_text().replace('\n', ' \r\n').encode(encoding))
    dataset = build(root, **options)
    assert ids_of(dataset)[:3] == video_ids
    assert str(dataset[0]['data_samples'].to_dict()) == str(expected.to_dict())


def test_a_list_that_is_no_text_is_named(case):
    build, root, _ = case
    if not (paths := text_files(root)):
        pytest.skip('no list belongs to it')
    for path in paths:
        path.write_bytes(b'h\xfctte')
    with pytest.raises(InputError, match=r'\.(txt|json) is no UTF-8 text: byte 1 is 0xfc'):
        build(root)


@pytest.mark.parametrize('name', ['../x', '/x', 'a/../../x', 'C:x', 'x\u200bx', ''])
@pytest.mark.parametrize('place', ['id', 'frame', 'list'])
def test_names_of_youtube_vos_that_point_out_of_the_data(tmp_path, name, place):
    root = make_youtube_vos_valid(tmp_path)
    path = tmp_path / ('list.json' if place == 'list' else 'valid/meta.json')
    videos = json.loads((tmp_path / 'valid' / 'meta.json').read_text())['videos']
    if place == 'frame':
        videos['video0']['objects']['1']['frames'].append(name)
    else:
        videos[name] = videos['video0']
    path.write_text(json.dumps(dict(videos=videos)))
    with pytest.raises(InputError, match=rf'{path.name} holds the name .*are relative paths'):
        YouTubeVOSBenchmark(str(root), video_list='list.json' if place == 'list' else None)


@pytest.mark.parametrize(
    ('build', 'make', 'path', 'line', 'options'),
    [
        (VIP, make_vip, 'lists/val_videos.txt', '../x', {}),
        (VIP, make_vip, 'lists/val_videos.txt', 'videos1/../videos1', {}),
        (VIP, make_vip, 'lists/val_videos.txt', '\\\\host\\x', {}),
        (DAVIS, make_davis, 'ImageSets/2017/val.txt', '../..', {}),
        (DAVIS, make_davis, 'ImageSets/2017/val.txt', 'JPEGImages/../00000.jpg', {}),
        (JHMDB, make_jhmdb, 'splits/walk_test_split1.txt', '../walk/clip0.avi 2', {}),
        (JHMDB, make_jhmdb, 'val_list.txt', '../x', dict(video_list='val_list.txt')),
        (
            JHMDB,
            make_jhmdb,
            'val_list.txt',
            'joint_positions\\..\\x\\j.mat Rename_Images\\..\\x',
            dict(video_list='val_list.txt'),
        ),
    ],
)
def test_names_of_lists_that_point_out_of_the_data(tmp_path, build, make, path, line, options):
    make(tmp_path)
    with open(tmp_path / path, 'a') as file:
        file.write(f'{line}\n')
    with pytest.raises(InputError, match='holds the name .*are relative paths'):
        build(str(tmp_path), **options)


def test_names_of_other_benchmarks_are_checked_too(tmp_path):
    class Other(DAVIS):
        def load_videos(self):
            return [dict(video, video_id='../x') for video in super().load_videos()]

    with pytest.raises(InputError, match=r"DAVIS-2017 val in .* holds the name '\.\./x'"):
        Other(str(make_davis(tmp_path)))


def test_davis_without_enough_frames_is_refused_all_at_once(tmp_path):
    root = make_davis(tmp_path, num_videos=4, num_frames=4)
    for video, kept in (('video1', 2), ('video3', 1)):
        for kind in ('JPEGImages', 'Annotations'):
            for path in sorted((root / kind / '480p' / video).iterdir())[kept:]:
                path.unlink()
    for path in (root / 'Annotations' / '480p' / 'video2').iterdir():
        write_mask(path, np.full((64, 96), 255, np.uint8))
    with pytest.raises(UnscorableVideos, match=r'skip=\[video1,video2,video3\]') as caught:
        DAVIS(str(root))
    assert list(caught.value.reasons) == ['video1', 'video2', 'video3']
    assert '2, of which the first and the last do not count' in str(caught.value)
    assert ids_of(DAVIS(str(root), skip=['video1', 'video2', 'video3'])) == ['video0']
    assert ids_of(DAVIS(str(root), indices=1)) == ['video0']
    with pytest.raises(UnscorableVideos, match=r'among the first 2 \(max_frames\): 2, of which'):
        DAVIS(str(root), indices=1, max_frames=2)


def test_davis_test_dev_may_have_any_length(tmp_path):
    root = make_davis(tmp_path, num_videos=1, num_frames=2)
    (root / 'Annotations' / '480p' / 'video0' / '00001.png').unlink()
    assert DAVIS(str(root))[0]['data_samples'].mask_paths[1] is None


def test_jhmdb_without_a_joint_to_follow_is_refused_all_at_once(tmp_path):
    root = make_jhmdb(tmp_path, num_videos=3)
    for clip in ('clip0', 'clip2'):
        positions = np.full((2, 15, 4), 5.0)
        positions[0, :, 0] = np.nan
        savemat(root / 'joint_positions' / 'walk' / clip / 'joint_positions.mat', dict(pos_img=positions))
    match = r'no joint is visible in the first frame.*skip=\[walk/clip0,walk/clip2\]'
    with pytest.raises(UnscorableVideos, match=match):
        JHMDB(str(root))
    assert ids_of(JHMDB(str(root), skip=['walk/clip0', 'walk/clip2'])) == ['walk/clip1']


def test_jhmdb_clips_of_other_joints_are_refused(tmp_path):
    root = make_jhmdb(tmp_path, num_videos=3)
    savemat(root / 'joint_positions' / 'walk' / 'clip1' / 'joint_positions.mat', dict(pos_img=np.ones((2, 13, 4))))
    with pytest.raises(UnscorableVideos, match=r'1 videos .*\(walk/clip1: 13 joints, walk/clip0 has 15\)'):
        JHMDB(str(root))


def test_vip_masks_of_other_ids_are_refused_all_at_once(tmp_path):
    root = make_vip(tmp_path, num_videos=3)
    for video in ('videos1', 'videos3'):
        path = min((root / 'Annotations' / 'Category_ids' / video).iterdir())
        write_mask(path, np.where(read_mask(path) > 0, 42, 255))
    with pytest.raises(UnscorableVideos, match=r'holds \[42\], parts are 1 to 19.*skip=\[videos1,videos3\]'):
        VIP(str(root))
    assert len(VIP(str(root), labels='instance')) == 3


@pytest.mark.parametrize(
    ('kind', 'make', 'options', 'message'),
    [
        (VIP, make_vip, {}, '1, whose labels are given'),
        (VIP, make_vip, dict(labels='instance'), '1, whose labels are given'),
        (JHMDB, make_jhmdb, {}, '1, whose labels are given'),
        (
            YouTubeVOSBenchmark,
            partial(make_youtube_vos_valid, split='train', annotated=True),
            dict(split='train'),
            '1, with none after the first of an object',
        ),
    ],
)
def test_videos_of_which_only_the_given_frame_is_there_are_refused(kind, make, options, message, tmp_path):
    root = str(make(tmp_path / 'cut'))
    with pytest.raises(UnscorableVideos, match=rf'frames among the first 1 \(max_frames\): {message}.*skip='):
        kind(root, max_frames=1, **options)
    assert len(kind(root, max_frames=2, **options)) == 2
    root = str(make(tmp_path / 'short', num_frames=1, **(dict(births=(0, 0)) if 'split' in options else {})))
    with pytest.raises(UnscorableVideos, match=rf'frames: {message}.*skip='):
        kind(root, **options)


def test_youtube_vos_of_hidden_truth_may_have_any_length(tmp_path):
    root = make_youtube_vos_valid(tmp_path, num_videos=1, num_frames=1, births=(0,))
    assert not YouTubeVOSBenchmark(str(root))[0]['data_samples'].truth_known
