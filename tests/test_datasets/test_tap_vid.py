import json
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_data import make_tap_vid, moving_shapes

from stt_mm.datasets import TAPVid, UnscorableVideos
from stt_mm.datasets.tap_vid import select_queries
from stt_mm.errors import InputError
from stt_mm.registry import DATASETS


def write(path, content):
    path.write_bytes(pickle.dumps(content))
    return str(path)


def video(frames=4, tracks=2, **changes):
    """One that is whole, but for the changes."""
    arrays = dict(
        video=moving_shapes(frames, (12, 16), 1)[0],
        points=np.full((tracks, frames, 2), 0.5, np.float32),
        occluded=np.zeros((tracks, frames), bool),
    )
    return dict(arrays, **changes)


def test_queries_are_those_of_the_public_code(data):
    golden = np.load(data / 'points' / 'tapvid_queries.npz')
    for case in range(3):
        occluded, points = golden[f'{case}_occluded'], golden[f'{case}_points']
        for mode in ('first', 'strided'):
            expected = {key.split('_', 2)[2]: golden[key][0] for key in golden if key.startswith(f'{case}_{mode}_')}
            tracks, frames = select_queries(occluded, mode)
            at = points[tracks, frames]
            assert np.array_equal(np.column_stack([frames, at[:, 1], at[:, 0]]), expected['query_points'])
            assert np.array_equal(points[tracks], expected['target_points'])
            assert np.array_equal(occluded[tracks], expected['occluded'])
            assert mode == 'first' or np.array_equal(tracks, expected['trackgroup'])


@pytest.mark.parametrize('folders', [False, True])
@pytest.mark.parametrize(('size', 'seen'), [((256, 256), (256, 256)), (None, (60, 80)), ([30, 200], (30, 200))])
def test_points_are_given_from_pixel_centres_at_any_size(folders, size, seen, tmp_path):
    root = make_tap_vid(tmp_path, num_frames=7, folders=folders)
    dataset = DATASETS.build(dict(type='TAPVid', data_root=str(root), size=size))
    assert len(dataset) == 2
    item = dataset[1]
    sample, frames = item['data_samples'], item['inputs']
    assert sample.video_id == 'video1'
    assert sample.frame_names == [f'{t:05d}' for t in range(7)]
    assert sample.original_size == frames.original_size == frames[3].shape[:2] == seen
    stored = moving_shapes(7, (60, 80), 2, seed=1)[0][3]
    resized = Image.fromarray(stored).resize(seen[::-1], Image.Resampling.LANCZOS)
    assert np.array_equal(frames[3], np.asarray(resized))
    assert frames[3].flags.writeable
    assert (sample.query_mode, sample.both_ways) == ('first', False)
    assert sample.query_frames.tolist() == [0, 1, 2]
    assert list(sample.given_points) == [0, 1, 2]
    assert sample.points.shape == (7, 3, 2)
    for track in range(3):
        corner = np.array([0.2 + 0.1 * track + 0.02 * track, 0.3 + 0.01 * track])
        expected = corner * seen[::-1] - 0.5
        assert sample.given_points[track].dtype == np.float32
        np.testing.assert_allclose(sample.given_points[track], expected[None], rtol=0, atol=1e-4)
        np.testing.assert_allclose(sample.points[track, track], expected, rtol=0, atol=1e-4)
    assert np.array_equal(sample.occluded, np.arange(7)[:, None] < np.arange(3))


def test_strided_queries_come_every_fifth_frame(tmp_path):
    sample = TAPVid(str(make_tap_vid(tmp_path, num_frames=12)), query_mode='strided')[0]['data_samples']
    assert sample.query_frames.tolist() == [0, 5, 5, 5, 10, 10, 10]
    assert {t: len(points) for t, points in sample.given_points.items()} == {0: 1, 5: 3, 10: 3}
    assert (sample.query_mode, sample.both_ways) == ('strided', True)
    given = np.concatenate(list(sample.given_points.values()))
    np.testing.assert_array_equal(given, sample.points[sample.query_frames, np.arange(7)].astype(np.float32))
    cut = TAPVid(str(tmp_path / 'points.pkl'), query_mode='strided', max_frames=6)[0]['data_samples']
    assert cut.query_frames.tolist() == [0, 5, 5, 5]
    assert cut.points.shape == (6, 4, 2)


def test_queries_stand_in_the_order_of_their_frames(tmp_path):
    occluded = np.array([[True, True, False], [False, False, False], [True, False, False], [False, True, True]])
    path = write(tmp_path / 'a.pkl', dict(a=video(3, 4, occluded=occluded)))
    sample = TAPVid(path)[0]['data_samples']
    assert sample.query_frames.tolist() == [0, 0, 1, 2]
    assert sample.occluded.T.tolist() == occluded[[1, 3, 2, 0]].tolist()


def test_forms_of_pickles(tmp_path):
    encoded = [cv2.imencode('.png', frame[..., ::-1])[1].tobytes() for frame in moving_shapes(4, (12, 16), 1)[0]]
    whole, packed = video(), video(video=encoded, occluded=np.zeros((2, 4)))
    (tmp_path / 'shards').mkdir()
    write(tmp_path / 'shards' / '0001.pkl', [packed, whole])
    write(tmp_path / 'shards' / '0000.pkl', {'x.mp4': whole})
    shards = TAPVid(str(tmp_path / 'shards'), size=None)
    assert [entry['video_id'] for entry in shards.data_list] == ['0000/x.mp4', '0001/0000', '0001/0001']
    for index in range(3):
        item = shards[index]
        assert np.array_equal(item['inputs'][2], whole['video'][2])
        assert item['data_samples'].frame_names == ['00000', '00001', '00002', '00003']
        assert item['inputs'].path(2).endswith('.pkl')
        assert not item['data_samples'].occluded.any()
    alone = TAPVid(write(tmp_path / 'a.pkl', [whole]))
    assert alone.data_list[0]['video_id'] == '0000'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, 'must hold videos by their names, or a list of videos, got a dict of nothing'),
        (np.zeros(3), r'or a list of videos, got float64 \[3\]'),
        (
            dict(a=video()['video']),
            r'video a: expected a dict with video, points and occluded, got uint8 \[4, 12, 16, 3\]',
        ),
        (dict(a=dict(video=1)), 'got a dict of video'),
        (dict(a=video(video=np.zeros((4, 12, 16), np.uint8))), r'uint8 \[T, H, W, 3\].*got uint8 \[4, 12, 16\]'),
        (dict(a=video(video=np.zeros((4, 12, 16, 3)))), r'got float64 \[4, 12, 16, 3\]'),
        (dict(a=video(video=[])), 'got a list'),
        (dict(a=video(video=['a.jpg'])), 'got a list'),
        (
            dict(a=video(points=np.zeros((2, 3, 2)))),
            r'points must be numbers \[N, 4, 2\] for 4 frames, got float64 \[2, 3',
        ),
        (dict(a=video(points=[1])), 'points must be numbers .* got nothing'),
        (dict(a=video(occluded=np.zeros((2, 4, 1)))), r'occluded must be numbers \[N, 4\] for 4 frames'),
        (dict(a=video(occluded=np.zeros((3, 4)))), 'a.pkl, video a: 2 points, but occlusions of 3'),
        (dict(a=video(points=np.full((2, 4, 2), 77.0))), r'between \(0, 0\).*got 77\. Divide positions in pixels'),
        (dict(a=video(points=np.full((2, 4, 2), np.nan))), 'visible points must lie'),
        ({'../a': video()}, r"holds the name '\.\./a'"),
        ({'a': video(video=[b'no image'] * 4)}, r'a\.pkl .*cannot be used'),
    ],
)
def test_pickles_of_another_form(content, message, tmp_path):
    path = write(tmp_path / 'a.pkl', content)
    with pytest.raises((InputError, OSError), match=message):
        _ = TAPVid(path, size=None)[0]


def test_hidden_points_may_be_anywhere(tmp_path):
    points, occluded = np.full((1, 4, 2), 0.25), np.array([[False, True, False, True]])
    points[occluded] = np.nan
    sample = TAPVid(write(tmp_path / 'a.pkl', [video(tracks=1, points=points, occluded=occluded)]))[0]['data_samples']
    assert np.isfinite(sample.points[[0, 2]]).all()


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'a\.pkl names builtins\.frozenset'):
        TAPVid(write(tmp_path / 'a.pkl', dict(a=video(), b=frozenset)))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no folder .*none\. Expected one official pickle'):
        TAPVid(str(tmp_path / 'none'))
    with pytest.raises(FileNotFoundError, match='no video in'):
        TAPVid(str(tmp_path))
    root = make_tap_vid(tmp_path / 'folders', folders=True)
    for path in (root / 'video1' / 'frames').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match='no images in .*video1/frames'):
        TAPVid(str(root))
    (root / 'video1' / 'frames').rmdir()
    with pytest.raises(FileNotFoundError, match='no folder .*video1/frames'):
        TAPVid(str(root))


def test_broken_points_of_a_folder(tmp_path):
    root = make_tap_vid(tmp_path, num_videos=1, folders=True)
    path = root / 'video0' / 'points.npz'
    whole = path.read_bytes()
    for content in (b'', b'no zip', whole[:200], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'points\.npz cannot be read .*numpy\.savez'):
            TAPVid(str(root))
    np.savez(path, points=np.array([{}], object), occluded=np.zeros((1, 6)))
    with pytest.raises(InputError, match=r'points\.npz cannot be read .*pickle'):
        TAPVid(str(root))
    np.savez(path, occluded=np.zeros((1, 6)))
    with pytest.raises(InputError, match=r'points must be numbers \[N, 6, 2\] for 6 frames, got nothing'):
        TAPVid(str(root))
    np.savez_compressed(path, points=np.zeros(2**26, np.float64), occluded=np.zeros((1, 6)))
    with pytest.raises(InputError, match='unpacks to 512 MiB, too much for points'):
        TAPVid(str(root))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(query_mode='last'), "query_mode must be one of first, strided|'first', 'strided'"),
        (dict(size=256), r'size must be \(height, width\)'),
        (dict(size=(256, 0)), r'size must be \(height, width\)'),
        (dict(size=(256, 256.0)), r'size must be \(height, width\)'),
    ],
)
def test_arguments_out_of_range(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        TAPVid(str(make_tap_vid(tmp_path)), **changes)


def test_videos_of_which_nothing_can_be_scored(tmp_path):
    hidden, late = np.ones((2, 4), bool), np.ones((2, 4), bool)
    late[:, 3] = False
    path = write(
        tmp_path / 'a.pkl', dict(hidden=video(occluded=hidden), late=video(occluded=late), one=video(1), whole=video())
    )
    with pytest.raises(UnscorableVideos) as caught:
        TAPVid(path)
    assert json.loads(json.dumps(caught.value.reasons)) == dict(
        hidden='no point of a.pkl is visible',
        late='all points appear in the last frame, 3',
        one='frames: 1, whose labels are given',
    )
    assert len(TAPVid(path, skip=['hidden', 'late', 'one'])) == 1
    with pytest.raises(UnscorableVideos, match=r'late: no point of a\.pkl is visible'):
        TAPVid(path, query_mode='strided')
