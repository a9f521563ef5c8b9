"""Real propagation on raw colours, which need no weights, and what is made of it."""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_data import moving_shapes, texture, write_image, write_timed_video, write_video

from stt_mm.apis import VideoPropagator
from stt_mm.engine import load_config
from stt_mm.utils import FrameError, VideoReader, read_mask, write_mask
from stt_mm.utils.config_path import bundled, config_path
from stt_mm.utils.video import VideoStream, open_video
from stt_mm.visualization import VideoWriter
from stt_mm.visualization.video import rate_of

ROOT = Path(__file__).parents[2]
SIZE = (64, 96)
COLORS = np.array([[60, 60, 60], [230, 40, 40], [40, 60, 230]], np.uint8)


@pytest.fixture(scope='module')
def propagator():
    return VideoPropagator(
        'eval/davis_color',
        device='cpu',
        options={'model.propagator.protocol.short_side': 128, 'model.propagator.protocol.radius': 5},
    )


SIZE_KEY = 'model.propagator.protocol.size'


def squares(num_frames=16, second_from=0):
    """A red square that moves right and a blue one that moves left from frame ``second_from`` on, and their ids."""
    masks = np.zeros((num_frames, *SIZE), np.uint8)
    for t in range(num_frames):
        masks[t, 8:28, 8 + 2 * t : 28 + 2 * t] = 1
        if t >= second_from:
            masks[t, 36:56, 70 - 2 * (t - second_from) : 90 - 2 * (t - second_from)] = 2
    return COLORS[masks], masks


def only(mask, number):
    return np.where(mask == number, mask, 0)


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_objects_are_followed(propagator):
    frames, masks = squares()
    results = list(propagator.stream(frames, masks[0]))
    assert [result.frame_index for result in results] == list(range(16))
    assert [result.name for result in results] == [f'{t:05d}' for t in range(16)]
    np.testing.assert_array_equal(results[0].mask, masks[0])
    for result, frame, mask in zip(results, frames, masks, strict=True):
        np.testing.assert_array_equal(result.frame, frame)
        assert result.mask.dtype == np.uint8
        assert result.points is None
        assert min(overlap(result.mask == k, mask == k) for k in (1, 2)) > 0.75


def exact(short_side):
    """Each cell takes the label of the one cell that looks like it."""
    return VideoPropagator(
        'eval/davis_color',
        device='cpu',
        options={
            'model.propagator.protocol.short_side': short_side,
            'model.propagator.protocol.radius': 2,
            'model.propagator.protocol.topk': 1,
        },
    )


@pytest.mark.parametrize(('short_side', 'speed'), [(64, 16), (128, 8), (256, 4)])
def test_points_follow_a_picture_that_moves_by_a_cell_per_frame(short_side, speed):
    """With frames made smaller, left alone and enlarged: 2 pixels (rms) of the input are the codec, the mean is 0."""
    points = np.random.default_rng(0).uniform([90, 20], [220, 108], (100, 2))
    picture = texture((128, 320), 3)
    frames = [np.roll(picture, speed * t, 1) for t in range(6)]
    results = list(exact(short_side).stream(frames, points=points))
    np.testing.assert_array_equal(results[0].points, points.astype(np.float32))
    assert {result.points.dtype for result in results} == {np.dtype(np.float32)}
    errors = np.stack([result.points - points - [speed * t, 0] for t, result in enumerate(results[1:], 1)])
    pixel = 128 / short_side
    assert np.sqrt((errors**2).mean((0, 1))).max() < 2.3 * pixel
    assert np.abs(errors.mean((0, 1))).max() < 0.4 * pixel


@pytest.mark.parametrize('short_side', [32, 64, 200])
def test_points_that_stand_still_stay_in_the_frame_up_to_its_border(short_side):
    points = np.array([[0, 0], [95, 63], [0, 63], [95, 0], [47.5, 31.5]])
    for result in exact(short_side).stream([texture(SIZE, 5)] * 4, points=points):
        assert (result.points >= 0).all()
        assert (result.points <= [95, 63]).all()
        np.testing.assert_allclose(result.points, points, atol=4 * max(1, 64 / short_side))


@pytest.mark.parametrize(
    'protocol',
    [
        'stt_vip_s8',
        'stt_jhmdb_s8',
        'stt_tapvid_fine_s8',
        'crw_davis',
        'crw_jhmdb',
        'dino_davis_p8',
        'dinov3_davis_s',
        'cropmae_davis',
        'cropmae_jhmdb',
        'rsp_davis',
        'dul_davis',
    ],
)
def test_every_kind_of_protocol_follows_masks_and_points(protocol):
    """Those that change the aspect ratio, resize masks twice, decide at the input's size or have their own codec."""
    options = {
        'model.propagator.protocol.name': protocol,
        'model.propagator.protocol.num_context': 3,
        'model.propagator.protocol.topk': 1,
    }
    if 'davis' not in protocol:
        options['model.propagator.protocol.size'] = [200, 200]
    else:
        options['model.propagator.protocol.short_side'] = 192
    propagator = VideoPropagator('eval/davis_color', device='cpu', options=options)
    mask, points = squares(1)[1][0], np.array([[18.0, 30.0], [76.0, 20.0]])
    results = list(
        propagator.stream([texture(SIZE, 5)] * 5, {0: only(mask, 1), 2: only(mask, 2)}, {0: points[:1], 2: points[1:]})
    )
    np.testing.assert_array_equal(results[0].mask, only(mask, 1))
    for result in results[2:]:
        assert min(overlap(result.mask == k, mask == k) for k in (1, 2)) > 0.75
        np.testing.assert_allclose(result.points, points, atol=5)


def test_a_later_object_appears_and_changes_nothing_for_the_first(propagator):
    frames, masks = squares(second_from=10)
    first, second = only(masks[0], 1), only(masks[10], 2)
    alone = [result.mask for result in propagator.stream(frames, first)]
    both = [result.mask for result in propagator.stream(frames, {0: first, 10: second})]
    np.testing.assert_array_equal(both[:10], alone[:10])
    np.testing.assert_array_equal(both[10], np.where(second > 0, second, alone[10]))
    for t in range(11, 16):
        others = both[t] != 2
        np.testing.assert_array_equal(both[t][others], alone[t][others])
        assert overlap(both[t] == 2, masks[t] == 2) > 0.75


def test_a_later_object_lies_over_those_that_were_there(propagator):
    frames, masks = squares(3)
    inner = np.zeros(SIZE, np.uint8)
    inner[12:20, 16:24] = 7
    result = list(propagator.stream(frames, {0: masks[0], 1: inner}))[1]
    assert (result.mask[inner == 7] == 7).all()
    assert overlap(result.mask == 1, (masks[1] == 1) & (inner == 0)) > 0.75


def test_points_and_masks_do_not_disturb_each_other(propagator):
    frames, masks = squares(second_from=4)
    given = {0: only(masks[0], 1), 4: only(masks[4], 2)}
    points = {0: [[18, 18], [50, 50]], 2: [[30, 20]], 4: [[80, 46]]}
    together = list(propagator.stream(frames, given, points))
    for one, mask, joint in zip(
        together, propagator.stream(frames, given), propagator.stream(frames, points=points), strict=True
    ):
        np.testing.assert_array_equal(one.mask, mask.mask)
        np.testing.assert_allclose(one.points, joint.points, atol=1e-3)
    assert [len(result.points) for result in together] == [2] * 2 + [3] * 2 + [4] * 12


def test_frames_before_the_first_label_pass_through(propagator):
    frames, masks = squares()
    results = list(propagator.stream(frames, {5: masks[5]}, {6: [[10, 10]]}))
    assert not any(result.mask.any() for result in results[:5])
    late = list(propagator.stream(frames[5:], masks[5]))
    np.testing.assert_array_equal([result.mask for result in results[5:]], [result.mask for result in late])
    assert [result.points.shape for result in results] == [(0, 2)] * 6 + [(1, 2)] * 10


def test_results_look_only_back_and_are_not_waited_for(propagator):
    """Each result comes before more than a few frames beyond its own are read, and does not depend on those."""
    frames, masks = squares()
    expected = [result.mask for result in propagator.stream(frames, masks[0])]
    noise, read = np.random.default_rng(0).integers(0, 256, (30, *SIZE, 3), dtype=np.uint8), []

    def source():
        for t, frame in enumerate([*frames[:8], *noise]):
            read.append(t)
            yield frame

    results = propagator.stream(source(), masks[0])
    assert not read
    for t in range(8):
        np.testing.assert_array_equal(next(results).mask, expected[t])
        assert len(read) <= t + 4
    results.close()
    assert len(read) < 13
    assert not [thread for thread in threading.enumerate() if thread.name == 'prefetch']


def test_videos_in_work_at_once_do_not_mix(propagator):
    videos = [moving_shapes(5, SIZE, 2, seed) for seed in range(2)]
    apart = [[result.mask for result in propagator.stream(frames, masks[0])] for frames, masks in videos]
    streams = [propagator.stream(frames, masks[0]) for frames, masks in videos]
    for results in zip(*streams, strict=True):
        for index, result in enumerate(results):
            np.testing.assert_array_equal(result.mask, apart[index][result.frame_index])


def test_a_run_leaves_the_gradient_mode_and_the_model_alone(propagator):
    frames, masks = squares(3)
    assert [torch.is_grad_enabled() for _ in propagator.stream(frames, masks[0])] == [True] * 3
    assert propagator.model.training is False


def test_small_objects_that_no_cell_sees_are_told(propagator, caplog):
    frames, masks = squares(2)
    mask = masks[0].copy()
    mask[60, 1] = 9
    results = list(propagator.stream(frames, mask))
    assert 'Frame 0: object 9 falls between the 16x24 cells' in caplog.text
    assert set(np.unique(results[1].mask)) == {0, 1, 2}
    caplog.clear()
    list(propagator.stream(frames, masks[0]))
    assert not caplog.text


@pytest.fixture
def folder(tmp_path):
    frames, masks = squares(6)
    for t, frame in enumerate(frames):
        write_image(tmp_path / 'video' / f'img_{t}.png', frame)
    write_mask(tmp_path / 'first.png', masks[0])
    return tmp_path / 'video'


def test_files_hold_what_the_stream_gives(propagator, folder, tmp_path):
    first, points = tmp_path / 'first.png', {0: [[18, 18]], 3: [[80, 40]]}
    out = tmp_path / 'new' / 'out.mp4'
    summary = propagator(folder, first, points, out, tmp_path / 'masks', tmp_path / 'points.json')
    results = list(propagator.stream(folder, first, points))
    assert summary['frames'] == 6
    assert 0 < summary['seconds'] < 60
    assert summary['protocol']['name'] == 'stt_davis_s8'
    assert summary['protocol']['changed'] == ['radius', 'short_side']
    assert (summary['out'], summary['mask_dir'], summary['points_json']) == (
        out,
        tmp_path / 'masks',
        tmp_path / 'points.json',
    )
    assert sorted(path.name for path in (tmp_path / 'masks').glob('*.png')) == [f'img_{t}.png' for t in range(6)]
    rows = json.loads((tmp_path / 'points.json').read_text())
    reader = VideoReader(out)
    assert len(rows) == len(reader) == 6
    for result, row in zip(results, rows, strict=True):
        np.testing.assert_array_equal(read_mask(tmp_path / 'masks' / f'{result.name}.png'), result.mask)
        assert (row['index'], row['name']) == (result.frame_index, result.name)
        np.testing.assert_allclose(row['points'], result.points, atol=0.006)
        # MPEG-4 blurs; another picture would differ by far more.
        picture = reader.read(result.frame_index).astype(int)
        assert np.abs(picture - result.picture()).mean() < 8 < np.abs(picture - result.frame).mean()


def test_lost_points_are_null(tmp_path):
    """Black frames look like no cell of a white square, so a point in it is lost, and one on black ground is not."""
    first = np.zeros((*SIZE, 3), np.uint8)
    first[8:40, 8:40] = 255
    frames = [first, np.zeros_like(first), np.zeros_like(first)]
    exact(64)(frames, points=[[24, 24], [80, 32]], points_json=tmp_path / 'points.json', out=tmp_path / 'out.mp4')
    rows = [row['points'] for row in json.loads((tmp_path / 'points.json').read_text())]
    assert rows[0] == [[24, 24], [80, 32]]
    assert rows[1][0] is rows[2][0] is None
    assert None not in (rows[1][1], rows[2][1])
    results = list(exact(64).stream(frames, points=[[24, 24], [80, 32]]))
    assert [result.points[0].tolist() for result in results] == [[24, 24], [-1, -1], [-1, -1]]


@pytest.mark.parametrize(('given', 'expected'), [(None, 12.5), (30.0, 30.0)])
def test_frame_rate_is_that_of_the_video(propagator, tmp_path, given, expected):
    frames, masks = squares(3)
    with VideoWriter(tmp_path / 'in.mp4', 12.5) as writer:
        for frame in frames:
            writer.write(frame)
    propagator(tmp_path / 'in.mp4', masks[0], out=tmp_path / 'out.mp4', fps=given)
    with av.open(str(tmp_path / 'out.mp4')) as file:
        assert math.isclose(file.streams.video[0].average_rate, expected)


def test_times_of_the_video_are_kept_unless_a_rate_is_given(propagator, tmp_path):
    times = [0, 33, 67, 200, 1000, 1050]
    write_timed_video(tmp_path / 'in.mkv', times)
    for name, fps in (('a.mp4', None), ('b.mp4', 4.0)):
        propagator(
            tmp_path / 'in.mkv', points=[[48, 24]], out=tmp_path / name, fps=fps, points_json=tmp_path / 'p.json'
        )
        rows = json.loads((tmp_path / 'p.json').read_text())
        assert [row['time'] for row in rows] == pytest.approx([time / 1000 for time in times])
        with av.open(str(tmp_path / name)) as file:
            stream = file.streams.video[0]
            shown = [float(frame.pts * stream.time_base) for frame in file.decode(stream)]
        expected = [time / 1000 for time in times] if fps is None else [number / fps for number in range(6)]
        assert shown == pytest.approx(expected, abs=2e-5)
    assert [result.time for result in propagator.stream(squares(3)[0], points=[[48, 24]])] == [None] * 3


@pytest.mark.parametrize('fps', [None, 0.0, 30_000.0, 1e12])
def test_a_rate_that_no_file_can_keep_does_not_stop_the_run(propagator, tmp_path, fps):
    """Headers of files whose rate varies name such ones; what counts is the time of each frame."""
    frames, _ = squares(3)
    stream = VideoStream('a.mkv', ((f'{t:05d}', frame, t / 5) for t, frame in enumerate(frames)), fps=fps)
    propagator(stream, points=[[48, 24]], out=tmp_path / 'out.webm')
    assert [seconds for _, _, seconds in open_video(tmp_path / 'out.webm').frames] == [0, 0.2, 0.4]


def test_a_run_that_is_stopped_leaves_whole_files(propagator, folder, tmp_path):
    seen = []
    summary = propagator(
        folder,
        {0: tmp_path / 'first.png'},
        {0: [[9, 9]]},
        tmp_path / 'out.mp4',
        tmp_path / 'masks',
        tmp_path / 'points.json',
        on_frame=lambda result: seen.append(result.frame_index) or len(seen) == 3,
    )
    assert seen == [0, 1, 2]
    written = list((tmp_path / 'masks').glob('*.png'))
    assert summary['frames'] == len(VideoReader(tmp_path / 'out.mp4')) == len(written) == 3
    assert len(json.loads((tmp_path / 'points.json').read_text())) == 3


def test_what_was_found_before_an_error_is_kept(propagator, folder, tmp_path):
    (folder / 'img_4.png').write_bytes(b'broken')
    with pytest.raises(FrameError, match=r'img_4\.png'):
        propagator(
            folder, tmp_path / 'first.png', [[9, 9]], tmp_path / 'out.mp4', tmp_path / 'masks', tmp_path / 'points.json'
        )
    assert len(VideoReader(tmp_path / 'out.mp4')) == len(list((tmp_path / 'masks').glob('*.png'))) == 4
    assert len(json.loads((tmp_path / 'points.json').read_text())) == 4


def test_a_label_beyond_the_end_of_a_known_length_is_refused_at_once(propagator, folder, tmp_path):
    for arguments, why in ((dict(), r'video has 6 frames, 0 to 5'), (dict(max_frames=4), 'first 4 .*0 to 3')):
        with pytest.raises(ValueError, match=f'given for frame 6, but .*{why}'):
            propagator(folder, tmp_path / 'first.png', {6: [[9, 9]]}, tmp_path / 'out.mp4', **arguments)
    assert not (tmp_path / 'out.mp4').exists()


@pytest.mark.parametrize('kind', ['file', 'iterator'])
def test_a_label_beyond_an_unknown_end_is_told_there_and_nothing_is_lost(propagator, tmp_path, kind):
    frames, masks = squares(6)
    write_video(tmp_path / 'in.mp4', frames)
    video = tmp_path / 'in.mp4' if kind == 'file' else iter(frames)
    with pytest.raises(ValueError, match='for frame 40, but .* ended after 6 frames, 0 to 5.*complete'):
        propagator(video, {0: only(masks[0], 1), 40: only(masks[0], 2)}, out=tmp_path / 'out.mp4')
    assert len(VideoReader(tmp_path / 'out.mp4')) == 6


def test_a_file_that_ends_early_is_told_at_its_end_and_can_be_accepted(propagator, tmp_path):
    frames, masks = squares(40)
    write_video(tmp_path / 'in.avi', frames, 'MJPG')
    data = (tmp_path / 'in.avi').read_bytes()
    (tmp_path / 'in.avi').write_bytes(data[: len(data) // 2])
    with pytest.raises(FrameError, match=r'in\.avi ended after (\d+) of the 40 frames it promises.*max_frames to \1'):
        propagator(tmp_path / 'in.avi', masks[0], out=tmp_path / 'out.mp4')
    count = len(VideoReader(tmp_path / 'out.mp4'))
    assert 10 < count < 30
    assert propagator(tmp_path / 'in.avi', masks[0], max_frames=count)['frames'] == count


def test_results_never_replace_what_is_read(propagator, folder, tmp_path):
    frames, masks = squares(3)
    write_video(tmp_path / 'in.mp4', frames)
    write_mask(tmp_path / 'given' / '00000.png', masks[0])
    os.link(tmp_path / 'in.mp4', tmp_path / 'linked.mp4')
    (tmp_path / 'link').symlink_to(tmp_path / 'given')
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    video, mask = tmp_path / 'in.mp4', tmp_path / 'given' / '00000.png'
    for outputs, message in [
        (dict(out=folder / '..' / 'in.mp4'), r'in\.mp4 is read here and would be replaced'),
        (dict(out=tmp_path / 'linked.mp4'), r'linked\.mp4 is the same file as .*in\.mp4'),
        (dict(mask_dir=tmp_path / 'link'), r'link holds .*given/00000\.png, which is read'),
        (dict(mask_dir=tmp_path, overwrite=True), r'holds .*00000\.png, which is read'),
        (dict(points_json=mask), r'00000\.png is read'),
        (
            dict(out=tmp_path / 'a.mp4', points_json=tmp_path / 'link' / '..' / 'a.mp4'),
            'the video and the points would both be written to',
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            propagator(video, mask, [[1, 1]], **outputs)
    with pytest.raises(ValueError, match=r'video holds .*, which is read'):
        propagator(folder, masks[0], mask_dir=folder, overwrite=True)
    config = config_path('eval/davis_color')
    with pytest.raises(ValueError, match=r'davis_color\.py is read here'):
        propagator(folder, masks[0], out=config)
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_of_masks_belongs_to_one_video(propagator, folder, tmp_path):
    """The same command again replaces its own masks; those of another video stay unless asked."""
    frames, masks = squares(4)
    write_video(tmp_path / 'in.mp4', frames)
    target = tmp_path / 'masks'

    def names():
        return sorted(path.name for path in target.glob('*.png'))

    propagator(folder, masks[0], mask_dir=target)
    whole = names()
    shutil.copy(target / whole[0], target / 'drawn.png')
    propagator(folder, masks[0], mask_dir=target)
    assert names() == ['drawn.png', *whole]
    with pytest.raises(ValueError, match='the results would mix'):
        propagator(folder, masks[0], mask_dir=target, max_frames=2)
    propagator(folder, masks[0], mask_dir=target, max_frames=2, overwrite=True)
    assert names() == whole[:2]
    with pytest.raises(ValueError, match=r'masks of .*video \(state \w+\), 2 frames, forward, .*--overwrite'):
        propagator(tmp_path / 'in.mp4', masks[0], mask_dir=target)
    assert names() == whole[:2]
    propagator(tmp_path / 'in.mp4', masks[0], mask_dir=target, overwrite=True)
    assert names() == [f'{t:05d}.png' for t in range(4)]
    write_video(tmp_path / 'in.mp4', frames[:2])
    with pytest.raises(ValueError, match='the results would mix'):
        propagator(tmp_path / 'in.mp4', masks[0], mask_dir=target)
    assert len(names()) == 4
    (target / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match=r'holds notes\.txt, which is no \.png file'):
        propagator(folder, masks[0], mask_dir=target, overwrite=True)
    assert len(names()) == 4


def test_masks_of_other_labels_or_another_network_do_not_mix(propagator, folder, tmp_path):
    """Those that a run did not come to would stay among them."""
    mask = squares(4)[1][0]
    moved, other = mask.copy(), np.where(mask, 7, 0)
    moved[0, 0] = mask.max()
    propagator(folder, mask, mask_dir=tmp_path / 'masks')
    before = {path: path.read_bytes() for path in (tmp_path / 'masks').iterdir()}
    changed = VideoPropagator('eval/davis_color', options={'model.propagator.protocol.temperature': 0.5})
    first, second = (VideoPropagator('eval/davis_r18_s8') for _ in range(2))
    cases = [(propagator, moved), (propagator, other), (propagator, {1: mask}), (changed, mask), (first, mask)]
    for network, masks in cases:
        with pytest.raises(ValueError, match='masks holds masks of .*, and the results would mix'):
            network(folder, masks, mask_dir=tmp_path / 'masks', on_frame=lambda result: True)
    assert {path: path.read_bytes() for path in (tmp_path / 'masks').iterdir()} == before
    first(folder, mask, mask_dir=tmp_path / 'first', max_frames=1)
    with pytest.raises(ValueError, match='first holds masks of .*, and the results would mix'):
        second(folder, mask, mask_dir=tmp_path / 'first', max_frames=1)


@pytest.mark.parametrize('kind', ['out', 'mask_dir', 'points_json'])
def test_folder_that_cannot_be_written(propagator, tmp_path, kind):
    frames, masks = squares(3)
    (tmp_path / 'file').write_text('')
    path = tmp_path / 'file' / dict(out='a/b.mp4', mask_dir='a', points_json='a/b.json')[kind]
    with pytest.raises(OSError, match=r'cannot be written to the folder .*file/a \(.*Choose another'):
        propagator(frames, masks[0], [[1, 1]], **{kind: path})


@pytest.mark.parametrize(
    ('masks', 'points', 'outputs', 'message'),
    [
        (None, [[1, 1]], dict(mask_dir='masks'), 'mask_dir masks is for masks, but none'),
        (np.ones(SIZE, np.uint8), None, dict(points_json='p.json'), 'points_json p.json is for points, but none'),
        (np.ones(SIZE, np.uint8), None, dict(out='a.avi'), r'\.mp4, .*\.webm, got .*a\.avi'),
        (np.ones(SIZE, np.uint8), None, dict(out='a.mp4', fps=-1), 'fps must be 0.001 to 100000'),
        (np.ones(SIZE, np.uint8), None, dict(out='a.mp4', fps=0), 'fps must be 0.001 to 100000'),
        (np.ones(SIZE, np.uint8), None, dict(max_frames=0), 'max_frames must be a whole number of at least 1'),
        (np.ones((64, 90), np.uint8), None, dict(out='a.mp4'), '64x90 .*, the frames are 64x96'),
        (None, {1: [[96, 3]]}, dict(out='a.mp4'), 'Point 96,3 for frame 1 .* 0 to 95'),
    ],
)
def test_what_is_refused_before_anything_is_written(propagator, tmp_path, monkeypatch, masks, points, outputs, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        propagator(squares(3)[0], masks, points, **outputs)
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


def test_a_video_without_frames(propagator):
    with pytest.raises(ValueError, match='the given frames holds no frames'):
        list(propagator.stream(iter([]), np.ones(SIZE, np.uint8)))


def test_models_that_cannot_propagate_are_refused():
    cfg = load_config('eval/davis_color')
    cfg.model.propagator = None
    with pytest.raises(ValueError, match=r'davis_color\.py has no model with a propagator'):
        VideoPropagator(cfg)
    with pytest.raises(ValueError, match='The config has no model with a propagator'):
        VideoPropagator(Config(dict(model=dict(type='mmengine.BaseDataPreprocessor'))))


def test_nothing_is_trusted_or_let_pass_unless_asked(monkeypatch):
    loaded = []
    monkeypatch.setattr('stt_mm.models.correspondence.load_for_evaluation', lambda model, *given: loaded.append(given))
    VideoPropagator('eval/davis_color', device='cpu')
    VideoPropagator('eval/davis_color', 'a.pth', 'cpu', None, True, False, 'net', True)
    assert loaded == [(None, False, False, None, False), ('a.pth', True, False, 'net', True)]


def test_objects_are_drawn_half_opaque_unless_told(propagator, tmp_path, monkeypatch):
    frames, masks = squares(2)
    drawn = []
    monkeypatch.setattr('stt_mm.apis.labels.overlay', lambda frame, mask, alpha: drawn.append(alpha) or frame)
    propagator(frames, masks[0], out=tmp_path / 'a.mp4')
    propagator(frames, masks[0], out=tmp_path / 'b.mp4', alpha=0.25)
    next(propagator.stream(frames, masks[0])).picture()
    assert drawn == [0.5, 0.5, 0.25, 0.25, 0.5]


@pytest.mark.parametrize(('fps', 'expected'), [(None, 10), (0.0, 10), (1e12, 10), (30.0, 30), (12.5, 12.5)])
def test_ten_frames_a_second_where_the_video_does_not_tell(fps, expected):
    assert rate_of(fps, 'a.mp4') == expected


def test_the_config_is_not_changed():
    cfg = load_config('eval/davis_color')
    before = Config(cfg.to_dict())
    changed = VideoPropagator(cfg, device='cpu', options={'model.propagator.protocol.short_side': 64})
    assert cfg.to_dict() == before.to_dict()
    assert changed.model.protocol['short_side'] == 64


def test_weights_and_device():
    checkpoint = bundled('stt_r18_demo')
    trained, other = (VideoPropagator('eval/davis_r18_s8', path, 'cpu') for path in (checkpoint, None))
    stored = torch.load(checkpoint, weights_only=True)['state_dict']['backbone.conv1.weight'].float()
    torch.testing.assert_close(trained.model.backbone.conv1.weight.detach(), stored)
    assert not torch.equal(other.model.backbone.conv1.weight, trained.model.backbone.conv1.weight)
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        VideoPropagator('eval/davis_r18_s8', 'none.pth')


MEMORY = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from stt_mm.apis import VideoPropagator
from tiny_data import texture
import numpy as np

height, width, long = 128, 192, 1000
picture, mask = texture((height, width), 0), np.zeros((height, width), np.uint8)
mask[30:90, 40:100] = 1
frames = (np.roll(picture, t, 1) for t in range(long))
resident = {}

def look(result):
    if result.frame_index in (100, 200, long - 1):
        pages = int(open('/proc/self/statm').read().split()[1])
        resident[result.frame_index] = pages * os.sysconf('SC_PAGE_SIZE')

propagator = VideoPropagator('eval/davis_color', device='cpu', options={
    'model.propagator.protocol.short_side': 48, 'model.propagator.protocol.radius': 3})
summary = propagator(frames, mask, [[60, 60]], 'out.mp4', None, 'points.json', on_frame=look)
print(json.dumps(dict(resident, frames=summary['frames'])))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='resident memory is read from /proc')
def test_memory_does_not_grow_with_the_video(tmp_path):
    """1,000 frames and their masks would be 100 MB, an eighth of what the process takes."""
    output = subprocess.run(
        [sys.executable, '-c', MEMORY, str(ROOT / 'tests')],
        cwd=tmp_path,
        check=True,
        text=True,
        capture_output=True,
        timeout=300,
    ).stdout
    resident = json.loads(output.splitlines()[-1])
    assert resident['frames'] == len(VideoReader(tmp_path / 'out.mp4')) == 1000
    assert resident['999'] < 1.05 * resident['200'], resident
    assert resident['999'] < 1.05 * resident['100'], resident


def test_a_fusion_takes_no_single_checkpoint(tmp_path):
    with pytest.raises(ValueError, match='has several networks, and one.pth is one file'):
        VideoPropagator(
            'eval/davis_late_fusion',
            'one.pth',
            options={'model.backbones.0.init_cfg': None, 'model.backbones.1.init_cfg': None},
        )


def test_points_are_written_to_a_hundredth_and_times_to_a_microsecond(propagator, tmp_path):
    frames, _ = squares(2)
    stream = VideoStream('a.mkv', iter([('a', frames[0], 0.0), ('b', frames[1], 1 / 3)]))
    propagator(stream, points=[[48.12345, 24.98765], [0, 0]], points_json=tmp_path / 'points.json')
    first, second = json.loads((tmp_path / 'points.json').read_text())
    assert first == dict(index=0, name='a', time=0, points=[[48.12, 24.99], [0, 0]])
    assert second['time'] == 0.333333


def test_what_is_not_written_is_not_named(propagator):
    frames, masks = squares(2)
    summary = propagator(frames, masks[0])
    assert (summary['out'], summary['mask_dir'], summary['points_json']) == (None, None, None)
    for count in (1, 2):
        assert propagator(frames, masks[0], max_frames=count)['frames'] == count


def test_a_label_for_the_last_frame_of_an_unknown_number_is_in_time(propagator):
    frames, _ = squares(3)
    assert len(list(propagator.stream(iter(frames), points={0: [[9, 9]], 2: [[8, 8]]}))) == 3
    with pytest.raises(ValueError, match='given for frame 3, but the given frames ended after 3 frames, 0 to 2'):
        list(propagator.stream(iter(frames), points={0: [[9, 9]], 3: [[8, 8]]}))


@pytest.mark.parametrize('config', ['eval/vip_r18_s8', 'eval/jhmdb_r18_s8', 'eval/davis_r18_s8'])
def test_labels_come_out_as_they_are_given_under_any_protocol(config):
    """Benchmarks may put out what resizing leaves of the first labels, and read points with a bias."""
    propagator = VideoPropagator(config, options={'model.propagator.protocol.short_side': None, SIZE_KEY: (64, 72)})
    assert propagator.model.propagator.protocol.points in (None, 'input')
    frames = [np.random.default_rng(0).integers(0, 255, (51, 47, 3), dtype=np.uint8)] * 4
    first, later = (np.zeros((51, 47), np.uint8) for _ in range(2))
    first[3:20, 5:9], later[30:45, 11:40] = 1, 2
    results = list(propagator.stream(frames, {0: first, 2: later}, {0: [[7, 9]], 2: [[21, 33]]}))
    assert np.array_equal(results[0].mask, first)
    assert np.array_equal(results[2].mask == 2, later == 2)
    assert results[0].points.tolist() == [[7, 9]]
    assert results[2].points[1].tolist() == [21, 33]
