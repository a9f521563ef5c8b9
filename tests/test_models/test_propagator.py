import json

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_data import moving_shapes
from torch.testing import assert_close

from stt_mm.models import LabelPropagator
from stt_mm.ops import propagate, resize_label
from stt_mm.registry import MODELS


def from_params(params):
    return LabelPropagator(radius=params['neighbor_range'] // 2, topk=params['topk'], temperature=params['temperature'],
                           num_context=params['precede_frames'])


@pytest.mark.parametrize('name', ['masks_3obj', 'masks_short_memory'])
def test_masks_equal_the_released_code_pixel_for_pixel(name, data):
    golden = np.load(data / f'track_{name}.npz')
    propagator = from_params(json.loads(str(golden['params'])))
    features = torch.from_numpy(golden['features'])
    size = tuple(int(side) for side in golden['original_shape'])
    propagator.start_mask(features[0], torch.from_numpy(golden['first_label']))
    for feature, expected in zip(features[1:], golden['out'][1:], strict=True):
        assert np.array_equal(propagator.step_mask(feature, size).numpy(), expected)


def test_heat_maps_equal_the_released_code(data):
    golden = np.load(data / 'track_heatmaps.npz')
    propagator = from_params(json.loads(str(golden['params'])))
    features = torch.from_numpy(golden['features'])
    size = tuple(int(side) for side in golden['original_shape'])
    propagator.start(features[0], resize_label(torch.from_numpy(golden['first_label']), features.shape[-2:]))
    for feature, expected in zip(features[1:], golden['out'][1:], strict=True):
        assert_close(resize_label(propagator.step(feature), size), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_memory_is_the_first_frame_and_the_last_n_with_the_first_repeated(monkeypatch):
    seen = []

    def record(query, keys, labels, *args):
        seen.append([int(key[0, 0, 0]) for key in keys])
        return propagate(query, keys, labels, *args)

    monkeypatch.setattr('stt_mm.models.propagator.propagate', record)
    propagator = LabelPropagator(radius=1, num_context=3, normalize=False)
    propagator.start(torch.zeros(1, 2, 2), torch.ones(1, 2, 2))
    for index in range(1, 6):
        propagator.step(torch.full((1, 2, 2), float(index)))
    assert seen == [[0, 0], [0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [0, 2, 3, 4]]


def test_a_second_video_starts_with_an_empty_memory():
    frames = torch.randn(6, 8, 5, 5)
    label = torch.rand(2, 5, 5)
    propagator, fresh = LabelPropagator(radius=2), LabelPropagator(radius=2)
    propagator.start(frames[0], label)
    propagator.step(frames[1])
    for one in (propagator, fresh):
        one.start(frames[3], label)
    assert torch.equal(propagator.step(frames[4]), fresh.step(frames[4]))


def test_wrong_use_is_explained():
    propagator = LabelPropagator()
    with pytest.raises(RuntimeError, match=r'start\(\) with the first frame'):
        propagator.step(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r'grid \(2, 2\), labels \(2, 3\)'):
        propagator.start(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3))
    propagator.start(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match='all frames of a video must share one size'):
        propagator.step(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match='topk >= 1'):
        LabelPropagator(topk=0)


def test_a_moving_object_is_followed_through_a_video():
    frames, masks = moving_shapes(6, (96, 128), 2, seed=3)
    model = MODELS.build(dict(
        type='stt_mm.Correspondence', feature_stage=None, data_preprocessor=dict(type='stt_mm.ClipDataPreprocessor'),
        backbone=dict(type='stt_mm.ColorPatches', size=3, stride=4),
        propagator=dict(type='stt_mm.LabelPropagator', protocol='mine', radius=4, topk=3)))
    sample = model.predict(list(frames), BaseDataElement(first_mask=masks[0]))
    assert sample.pred_masks.shape == masks.shape
    assert np.array_equal(sample.pred_masks[0], masks[0])
    overlap = [((sample.pred_masks[-1] == k) & (masks[-1] == k)).sum() / ((sample.pred_masks[-1] == k) |
                                                                          (masks[-1] == k)).sum() for k in (1, 2)]
    assert min(overlap) > 0.6
    assert sample.protocol['name'] == 'mine'
    assert sample.protocol['topk'] == 3
    with pytest.raises(TypeError, match='evaluated only'):
        model(inputs={}, mode='loss')
