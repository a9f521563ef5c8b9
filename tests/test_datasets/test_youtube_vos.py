import json
import logging
import shutil
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from tiny_data import make_youtube_vos

from stt_mm.datasets import TrainSampler, VideoDataset, YouTubeVOS
from stt_mm.registry import DATASETS
from stt_mm.utils import FrameError

PIPELINE = (
    dict(type='LoadFrames'),
    dict(type='ClipRandomResizedCrop', size=(32, 32)),
    dict(type='ClipFlip'),
    dict(type='PackClip'),
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return str(make_youtube_vos(tmp_path_factory.mktemp('ytv')))


@pytest.fixture
def own_root(tmp_path):
    return make_youtube_vos(tmp_path, num_videos=3, num_frames=3)


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def frames_of(root, video):
    return root / 'train' / 'JPEGImages' / video


def ids(dataset):
    return [dataset.get_data_info(i)['video_id'] for i in range(len(dataset))]


def take(root, num_workers, iterations=4, consumed=0, batch_size=3):
    """Some batches of a real loader, built as the runner does."""
    loader = Runner.build_dataloader(
        dict(
            dataset=YouTubeVOS(root, pipeline=PIPELINE, interval=(1, 2)),
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=dict(type='stt_mm.TrainSampler'),
            collate_fn=dict(type='default_collate'),
        ),
        seed=3,
    )
    loader.sampler.advance(consumed)
    return [
        (batch['inputs'], [sample.metainfo for sample in batch['data_samples']]) for batch in islice(loader, iterations)
    ]


def same(first, second):
    return all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(first, second, strict=True))


def test_built_from_a_config(root):
    dataset = DATASETS.build(dict(type='YouTubeVOS', data_root=root, pipeline=PIPELINE))
    item = dataset[0]
    assert (len(dataset), item['inputs'].shape) == (4, (2, 3, 32, 32))
    assert (item['data_samples'].video_id, item['data_samples'].sample_idx) == ('video0', 0)


def test_workers_do_not_change_what_is_drawn(root):
    alone, workers = take(root, 0), take(root, 2)
    assert alone[0][0].shape == (3, 2, 3, 32, 32)
    assert same(alone, workers)


def test_interruption_does_not_change_what_is_drawn(root):
    whole = take(root, 0, iterations=5)
    assert same(whole[3:], take(root, 0, iterations=2, consumed=9))


def test_a_video_drawn_again_gives_another_clip(root):
    dataset = YouTubeVOS(root, pipeline=PIPELINE)
    crops = [dataset[(1, draw)]['data_samples'].crop for draw in range(6)]
    assert len(set(crops)) > 3
    assert torch.equal(dataset[(1, 4)]['inputs'], dataset[(1, 4)]['inputs'])
    assert not torch.equal(dataset[(1, 4, 0)]['inputs'], dataset[(1, 4, 1)]['inputs'])
    for short in (2, (2, 0)):
        assert torch.equal(dataset[short]['inputs'], dataset[(2, 0, 0)]['inputs'])


def test_first_frame_is_the_reference_and_all_offsets_occur(root):
    dataset = YouTubeVOS(root, clip_length=3, interval=2)
    inds = {tuple(dataset[(0, draw)]['frame_inds']) for draw in range(50)}
    assert inds == {(0, 2, 4), (1, 3, 5)}


def test_intervals_are_chosen_by_weight_among_those_that_fit(root):
    dataset = YouTubeVOS(root, interval=(1, 3, 8), interval_probs=(0.2, 0.6, 0.2))
    steps = [np.diff(dataset[(0, draw)]['frame_inds'])[0] for draw in range(800)]
    assert set(steps) == {1, 3}
    assert 0.7 < np.mean(np.array(steps) == 3) < 0.8


def test_an_interval_without_weight_keeps_no_video(root):
    with pytest.raises(ValueError, match='none of 4 videos .* has the 9 frames'):
        YouTubeVOS(root, interval=(1, 8), interval_probs=(0, 1))


def test_short_videos_are_dropped_and_counted(own_root, log):
    for t in (5, 10):
        (frames_of(own_root, 'video1') / f'{t:05d}.jpg').unlink()
    assert ids(YouTubeVOS(str(own_root))) == ['video0', 'video2']
    assert f'YouTubeVOS: 2 videos, 1 skipped with fewer than 2 frames ({own_root})' in log.text


def test_list_given_then_text_then_meta_then_folders(own_root):
    assert ids(YouTubeVOS(str(own_root))) == ['video0', 'video1', 'video2']
    (own_root / 'train' / 'meta.json').write_text(json.dumps({'videos': {'video2': {}, 'video0': {}}}))
    assert ids(YouTubeVOS(str(own_root))) == ['video2', 'video0']
    (own_root / 'train' / 'video_list.txt').write_text('video1 25 frames\n\n')
    assert ids(YouTubeVOS(str(own_root))) == ['video1']
    (own_root / 'mine.json').write_text('["video0", "video1", "video0"]')
    assert ids(YouTubeVOS(str(own_root), video_list='mine.json')) == ['video0', 'video1']


@pytest.mark.parametrize('content', ['{"videos": 3}', '[', '[]', '[1]'])
def test_lists_that_cannot_be_understood(own_root, content):
    (own_root / 'mine.json').write_text(content)
    with pytest.raises(ValueError, match=r'/mine\.json (is no valid JSON|lists no videos)'):
        YouTubeVOS(str(own_root), video_list='mine.json')


def test_missing_list(own_root):
    with pytest.raises(FileNotFoundError, match=r'List of videos: no file .*mine\.txt'):
        YouTubeVOS(str(own_root), video_list='mine.txt')


def test_listed_video_that_is_absent(own_root, log):
    (own_root / 'train' / 'video_list.txt').write_text('video0\nlost\nvideo2\n')
    with pytest.raises(FileNotFoundError, match=r"1 of 3 videos of .*video_list\.txt .*: lost\. .*on_error='skip'"):
        YouTubeVOS(str(own_root))
    dataset = YouTubeVOS(str(own_root), on_error='skip')
    assert (ids(dataset), dataset.num_skipped) == (['video0', 'video2'], 1)
    assert 'video lost skipped (1 so far' in log.text


def test_missing_root_and_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no folder .*nowhere/train/JPEGImages\. Expected <data_root>/<split>'):
        YouTubeVOS(str(tmp_path / 'nowhere'))
    (tmp_path / 'train' / 'JPEGImages').mkdir(parents=True)
    with pytest.raises(ValueError, match=r'holds no video. Expected <data_root>/<split>/JPEGImages'):
        YouTubeVOS(str(tmp_path))


def test_broken_frame_raises_with_video_and_file(own_root):
    for path in frames_of(own_root, 'video1').iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    dataset = YouTubeVOS(str(own_root), pipeline=PIPELINE)
    with pytest.raises(FrameError, match=r'Video video1: Frame .*video1/000\d\d\.jpg .* it is cut off'):
        dataset[(1, 0)]


def test_broken_frame_is_skipped_counted_and_replaced(own_root, log):
    for path in frames_of(own_root, 'video1').iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    dataset = YouTubeVOS(str(own_root), pipeline=PIPELINE, on_error='skip')
    first, again = dataset[(1, 0)], dataset[(1, 0)]
    assert first['data_samples'].video_id in ('video0', 'video2')
    assert first['data_samples'].video_id == f'video{first["data_samples"].sample_idx}', 'that of the one it is'
    assert torch.equal(first['inputs'], again['inputs'])
    assert dataset.num_skipped >= 2
    assert log.text.count('video video1 skipped') == dataset.num_skipped


def test_skipping_ends(own_root):
    dataset = YouTubeVOS(str(own_root), pipeline=PIPELINE, on_error='skip')
    shutil.rmtree(own_root / 'train')
    with pytest.raises(FrameError, match=r"20 videos drawn in a row .*on_error='raise'"):
        dataset[(0, 0)]
    assert dataset.num_skipped == 20


def test_plain_indices_are_warned_about_once(root, log):
    dataset = YouTubeVOS(root)
    for index in (0, 1, 1, 1, 0):
        dataset[index]
    assert log.text.count('TrainSampler') == 1
    for sample in islice(TrainSampler(dataset, seed=0), 20):
        dataset[sample]
    assert log.text.count('TrainSampler') == 1


def test_index_out_of_range(root):
    dataset = YouTubeVOS(root)
    assert dataset[-1]['video_id'] == 'video3'
    with pytest.raises(IndexError):
        dataset[4]


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(clip_length=0),
        dict(interval=0),
        dict(interval=()),
        dict(interval=(1, 2), interval_probs=(1,)),
        dict(interval=(1, 2), interval_probs=(0, 0)),
        dict(on_error='ignore'),
    ],
)
def test_arguments_out_of_range(root, kwargs):
    with pytest.raises(ValueError, match='must'):
        YouTubeVOS(root, **kwargs)


@pytest.mark.parametrize('name', ['mine.JSON', 'mine.json', 'mine.txt'])
def test_a_list_is_read_as_its_suffix_says(own_root, name):
    (own_root / name).write_text('video1\nvideo2\n' if name.endswith('txt') else '["video1", "video2"]')
    assert ids(YouTubeVOS(str(own_root), video_list=name)) == ['video1', 'video2']


class Numbered(VideoDataset):
    """Videos of so many frames each, which nobody reads."""

    def __init__(self, *lengths, **settings):
        self.lengths = lengths
        super().__init__('somewhere', **settings)

    def load_videos(self):
        return [
            dict(video_id=str(number), frame_paths=[f'{number}/{t}.png' for t in range(length)])
            for number, length in enumerate(self.lengths)
        ]


@pytest.mark.parametrize(
    ('settings', 'shortest'),
    [
        ({}, 2),
        (dict(clip_length=3), 3),
        (dict(clip_length=3, interval=2), 5),
        (dict(interval=(3, 2)), 3),
        (dict(interval=(1, 4), interval_probs=(0, 1)), 5),
        (dict(clip_length=1), 1),
    ],
)
def test_the_shortest_video_is_as_long_as_a_clip(settings, shortest):
    dataset = Numbered(*range(8), **settings)
    assert ids(dataset) == [str(length) for length in range(shortest, 8)]
    clip = dataset.get_clip(0)
    assert (clip['frame_inds'][0], clip['frame_inds'][-1]) == (0, shortest - 1)
    assert len(clip['frame_inds']) == settings.get('clip_length', 2)


def test_a_clip_is_that_of_draw_and_seed_0_unless_asked_for():
    dataset = Numbered(1000)
    chosen = {(draw, seed): dataset.get_clip(0, draw, seed)['frame_inds'] for draw in (0, 1) for seed in (0, 1)}
    assert len({tuple(inds) for inds in chosen.values()}) == 4
    assert dataset.get_clip(0)['frame_inds'] == dataset[0]['frame_inds'] == chosen[0, 0]
    assert dataset[0, 1, 1]['frame_inds'] == chosen[1, 1]


@pytest.mark.parametrize('probs', [(2, -1), (1, 1, 1), (0, 0)])
def test_weights_of_intervals_that_are_none(probs):
    with pytest.raises(ValueError, match='one weight of at least 0 for each of 2 intervals'):
        Numbered(9, interval=(1, 2), interval_probs=probs)


def test_an_index_that_returns_is_told_and_others_are_not(log):
    dataset = Numbered(5, 5, 5)
    for index in (0, 1, 2):
        dataset[index]
    assert 'without a draw number' not in log.text
    dataset[1]
    assert 'Numbered is asked for video 1 again' in log.text
