from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from tiny_data import texture, write_image, write_video

from stt_mm.datasets.transforms import ClipFlip, ClipRandomResizedCrop, ClipResize, LoadFrames, PackClip
from stt_mm.utils import generator


def coordinates(height, width):
    """A frame whose red is its row and whose green is its column."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(height)[:, None], np.arange(width)
    return frame


def clip_of(frame, num_frames=3, key=0):
    return dict(
        frames=[frame.copy() for _ in range(num_frames)], rng=generator(key), video_id='bear', frame_inds=[0, 1, 2]
    )


def test_load_reads_the_asked_frames_in_order(tmp_path):
    paths = [str(tmp_path / f'{t}.png') for t in range(5)]
    for t, path in enumerate(paths):
        write_image(path, texture((16, 20), t))
    results = LoadFrames()(dict(video_id='bear', frame_paths=paths, frame_inds=[4, 1]))
    assert np.array_equal(results['frames'], [texture((16, 20), 4), texture((16, 20), 1)])


@pytest.mark.parametrize('key', range(5))
def test_crop_and_flip_move_all_frames_alike(key):
    results = ClipFlip()(ClipRandomResizedCrop((32, 48))(clip_of(coordinates(120, 200), key=key)))
    first = results['frames'][0]
    assert first.shape == (32, 48, 3)
    assert all(np.array_equal(frame, first) for frame in results['frames'])


@pytest.mark.parametrize('key', range(5))
def test_crop_shows_the_reported_box(key):
    results = ClipRandomResizedCrop((64, 64))(clip_of(coordinates(120, 200), key=key))
    top, left, height, width = results['crop']
    rows, columns = results['frames'][0][..., 0], results['frames'][0][..., 1]
    assert abs(int(rows.min()) - top) <= 2
    assert abs(int(rows.max()) - (top + height - 1)) <= 2
    assert abs(int(columns.min()) - left) <= 2
    assert abs(int(columns.max()) - (left + width - 1)) <= 2


def test_boxes_keep_to_area_and_aspect_and_use_both_ranges():
    crop, size = ClipRandomResizedCrop(), (720, 1280)
    boxes = np.array([crop.draw_box(size, generator(key)) for key in range(2000)], dtype=float)
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= size[0]).all()
    assert (left + width <= size[1]).all()
    area, aspect = height * width / (size[0] * size[1]), width / height
    assert 0.598 < area.min() < 0.61
    assert 0.95 < area.max() < 1.002
    assert 1.49 < aspect.min() < 1.52
    assert 1.97 < aspect.max() < 2.01
    # Wherever there is room, all offsets occur: the relative offset is uniform.
    assert abs((left / np.maximum(size[1] - width, 1)).mean() - 0.5) < 0.03


def test_aspect_is_uniform_in_the_logarithm():
    crop = ClipRandomResizedCrop(area=(0.01, 0.01), aspect=(0.25, 4.0))
    boxes = np.array([crop.draw_box((2000, 2000), generator(key)) for key in range(2000)], dtype=float)
    logs = np.log(boxes[:, 3] / boxes[:, 2])
    assert abs((logs < 0).mean() - 0.5) < 0.04
    assert abs((np.abs(logs) < np.log(2)).mean() - 0.5) < 0.04


def test_portrait_frames_take_the_centred_square():
    crop = ClipRandomResizedCrop()
    assert {crop.draw_box((1280, 720), generator(key)) for key in range(200)} == {(280, 0, 720, 720)}


def test_boxes_from_one_pixel_to_the_whole_frame_at_every_place():
    whole = ClipRandomResizedCrop(area=(1.0, 1.0), aspect=(2.0, 2.0))
    assert whole.draw_box((50, 100), generator(0)) == (0, 0, 50, 100)
    pixel = ClipRandomResizedCrop(area=(0.25, 0.25), aspect=(1.0, 1.0))
    places = {pixel.draw_box((2, 2), generator(key)) for key in range(50)}
    assert places == {(top, left, 1, 1) for top in (0, 1) for left in (0, 1)}
    assert ClipRandomResizedCrop(area=(0.01, 0.01), aspect=(1.0, 1.0)).draw_box((4, 4), generator(0)) == (0, 0, 4, 4)
    # 0.4 x 4 pixels.
    assert ClipRandomResizedCrop(area=(0.01, 0.01), aspect=(10, 10)).draw_box((4, 40), generator(0)) == (0, 18, 4, 4)
    assert ClipRandomResizedCrop(area=(0.01, 0.01), aspect=(0.1, 0.1)).draw_box((40, 4), generator(0)) == (18, 0, 4, 4)


def test_a_box_that_does_not_fit_is_drawn_so_often():
    used, expected = generator(0), generator(0)
    assert ClipRandomResizedCrop().draw_box((1281, 720), used) == (280, 0, 720, 720)
    expected.uniform(size=2 * 20)
    assert used.random() == expected.random()


def test_what_transforms_do_unless_told():
    assert repr(ClipRandomResizedCrop()) == (
        'ClipRandomResizedCrop(size=(256, 256), area=(0.6, 1.0), aspect=(1.5, 2.0))'
    )
    assert (repr(ClipResize()), repr(ClipFlip())) == ('ClipResize(size=(256, 256))', 'ClipFlip(prob=0.5)')
    assert ClipResize([1, 2]).size == (1, 2)


def test_resize_ignores_the_aspect():
    results = ClipResize((10, 40))(clip_of(coordinates(20, 20)))
    assert [frame.shape for frame in results['frames']] == [(10, 40, 3)] * 3
    # Half-pixel centres: row 4 of 10 lies half way between rows 8 and 9 of 20.
    assert results['frames'][0][4, 20, 0] in (8, 9)


def test_flip_mirrors_left_and_right():
    frame = texture((6, 9), 0)
    results = ClipFlip(prob=1)(clip_of(frame))
    assert results['flip'] is True
    assert np.array_equal(results['frames'][2], frame[:, ::-1])
    assert np.array_equal(ClipFlip(prob=0)(clip_of(frame))['frames'][0], frame)
    assert ClipFlip(prob=0)(dict(frames=[frame], rng=SimpleNamespace(random=lambda: 0.0)))['flip'] is False


def test_flip_frequency():
    flips = [ClipFlip(0.25)(clip_of(texture((2, 2), 0), key=key))['flip'] for key in range(1000)]
    assert 0.2 < np.mean(flips) < 0.3


def test_pack_and_collate():
    frames = [texture((6, 9), t) for t in range(2)]
    packed = PackClip()(dict(frames=frames, video_id='bear', frame_inds=[3, 4], crop=(0, 1, 6, 9), rng=generator(0)))
    inputs, sample = packed['inputs'], packed['data_samples']
    assert (inputs.shape, inputs.dtype, inputs.is_contiguous()) == ((2, 3, 6, 9), torch.uint8, True)
    assert all(np.array_equal(inputs[t].permute(1, 2, 0).numpy(), frames[t]) for t in range(2))
    assert sample.metainfo == dict(video_id='bear', frame_inds=[3, 4], crop=(0, 1, 6, 9))
    batch = default_collate([packed, packed])
    assert batch['inputs'].shape == (2, 2, 3, 6, 9)
    assert [element.video_id for element in batch['data_samples']] == ['bear', 'bear']


def test_pack_refuses_frames_of_unequal_size():
    frames = [texture((6, 9), 0), texture((6, 8), 0)]
    with pytest.raises(ValueError, match=r'video bear differ in size .*\(6, 8\), \(6, 9\).*ClipResize'):
        PackClip()(dict(frames=frames, video_id='bear', frame_inds=[0, 1]))


@pytest.mark.parametrize(
    ('cls', 'kwargs', 'word'),
    [
        (ClipResize, dict(size=(0, 3)), 'size'),
        (ClipResize, dict(size=(3, 3, 3)), 'size'),
        (ClipRandomResizedCrop, dict(area=(0.6, 1.1)), 'area'),
        (ClipRandomResizedCrop, dict(area=(0, 0.5)), 'area'),
        (ClipRandomResizedCrop, dict(area=(0.6, 0.5)), 'area'),
        (ClipRandomResizedCrop, dict(aspect=(2, 1)), 'aspect'),
        (ClipRandomResizedCrop, dict(aspect=(0, 1)), 'aspect'),
        (ClipFlip, dict(prob=-0.1), 'prob'),
        (ClipFlip, dict(prob=1.5), 'prob'),
    ],
)
def test_arguments_out_of_range(cls, kwargs, word):
    with pytest.raises(ValueError, match=f'{word} must be'):
        cls(**kwargs)


def test_what_cannot_be_read_is_named_with_its_video(tmp_path):
    with pytest.raises(FileNotFoundError, match='Video bear: .*none'):
        LoadFrames()(dict(frame_paths=[str(tmp_path / 'none.png')], video_id='bear', frame_inds=[0]))
    write_video(tmp_path / 'film.avi', np.zeros((4, 32, 48, 3), np.uint8), 'MJPG')
    with pytest.raises(IndexError, match='Frame 4 asked of video bear with 4 frames'):
        LoadFrames()(dict(video_path=str(tmp_path / 'film.avi'), video_id='bear', frame_inds=[4]))


@pytest.mark.parametrize(
    ('cls', 'kwargs'),
    [
        (ClipResize, dict(size=(1, 1))),
        (ClipRandomResizedCrop, dict(area=(1, 1))),
        (ClipRandomResizedCrop, dict(aspect=(1, 1))),
        (ClipFlip, dict(prob=0)),
        (ClipFlip, dict(prob=1)),
    ],
)
def test_the_bounds_of_arguments_are_allowed(cls, kwargs):
    transform = cls(**kwargs)
    assert {name: getattr(transform, name) for name in kwargs} == kwargs


def test_a_clip_is_packed_with_what_happened_to_it():
    results = ClipFlip(1)(ClipRandomResizedCrop((8, 16))(clip_of(coordinates(20, 40))))
    assert PackClip()(results)['data_samples'].metainfo == dict(
        video_id='bear', frame_inds=[0, 1, 2], crop=results['crop'], flip=True
    )
