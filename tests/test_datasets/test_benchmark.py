import pytest
from tiny_data import make_davis, make_jhmdb, make_vip, make_youtube_vos_valid

from stt_mm.datasets import DAVIS, JHMDB, VIP, VideoBenchmark, YouTubeVOSBenchmark
from stt_mm.utils import FrameSequence

DATASETS = {
    DAVIS: (make_davis, ['video0', 'video1', 'video2']),
    YouTubeVOSBenchmark: (make_youtube_vos_valid, ['video0', 'video1', 'video2']),
    VIP: (make_vip, ['videos1', 'videos2', 'videos3']),
    JHMDB: (make_jhmdb, ['walk/clip0', 'walk/clip1', 'walk/clip2']),
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
    assert ('given_masks' in sample) != ('given_keypoints' in sample)
    with pytest.raises(IndexError):
        dataset[3]


def test_max_frames_cuts_all_that_has_one_entry_per_frame(case):
    build, root, _ = case
    dataset = build(root, max_frames=3)
    sample = dataset[0]['data_samples']
    assert dataset.num_frames(0) == sample.metainfo['max_frames'] == 3
    lengths = {key: len(sample.get(key)) for key in ('frame_names', 'mask_paths', 'keypoints', 'output_frames')
               if key in sample}
    assert len(lengths) >= 2
    assert set(lengths.values()) == {3}, lengths


@pytest.mark.parametrize(('indices', 'skip', 'expected'), [
    (2, ('0',), '1'), (-2, ('1',), '2'), ([2, 0], ('2', 'none'), '0'), (None, '012', ''),
])
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
    with pytest.raises(ValueError, match='more than once: bear'):
        Listed(['bear', 'dog', 'bear'])
