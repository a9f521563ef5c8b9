from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement
from tiny_data import moving_shapes, texture
from torch.testing import assert_close

from stt_mm.models import load_for_evaluation
from stt_mm.ops import image_to_input, resize_frame
from stt_mm.registry import MODELS


def color_model(device='cpu', **changes):
    model = MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=None,
            backbone=dict(type='stt_mm.ColorPatches', size=3, stride=4),
            propagator=dict(type='stt_mm.LabelPropagator', protocol=dict(name='stt_davis_s8', **changes)),
        )
    )
    return model.to(device)


def test_an_object_added_later_appears_and_the_first_is_unchanged(device):
    frames, masks = moving_shapes(16, (64, 96), 2, seed=5)
    model = color_model(device, short_side=None, radius=6, topk=3)
    only_first = np.where(masks[0] == 1, 1, 0).astype(np.uint8)
    second = np.where(masks[10] == 2, 2, 0).astype(np.uint8)
    alone = model.predict(list(frames), BaseDataElement(given_masks={0: only_first})).pred_masks
    both = model.predict(list(frames), BaseDataElement(given_masks={0: only_first, 10: second})).pred_masks
    assert np.array_equal(both[:10], alone[:10])
    # At its frame the given object lies over what was found.
    assert np.array_equal(both[10], np.where(second > 0, 2, alone[10]))
    for time in range(11, 16):
        assert (both[time] == 2).sum() > 0.5 * (masks[time] == 2).sum()
        elsewhere = both[time] != 2
        assert np.array_equal(both[time][elsewhere], alone[time][elsewhere])


def test_a_moving_object_is_followed_through_a_video(device):
    frames, masks = moving_shapes(6, (96, 128), 2, seed=3)
    model = color_model(device, short_side=None, radius=4, topk=3)
    sample = model.predict(list(frames), BaseDataElement(given_masks={0: masks[0]}, metainfo=dict(with_scores=True)))
    assert sample.pred_masks.shape == masks.shape
    assert np.array_equal(sample.pred_masks[0], masks[0])
    overlap = [
        ((sample.pred_masks[-1] == k) & (masks[-1] == k)).sum()
        / ((sample.pred_masks[-1] == k) | (masks[-1] == k)).sum()
        for k in (1, 2)
    ]
    assert min(overlap) > 0.6
    assert sample.protocol['name'] == 'stt_davis_s8'
    assert sample.protocol['topk'] == 3
    assert sample.protocol['changed'] == ['radius', 'short_side', 'topk']
    assert sample.pred_scores[0] == {1: 1.0, 2: 1.0}
    assert all(0.3 < score <= 1 for scores in sample.pred_scores for score in scores.values())
    assert [set(scores) for scores in sample.pred_scores] == [set(np.unique(m)) - {0} for m in sample.pred_masks]
    with pytest.raises(ValueError, match='evaluated only'):
        model(inputs={}, mode='loss')


def test_points_of_any_frame_are_followed_through_a_video(device):
    # A picture that moves by two cells to the right and one down in each frame.
    picture = texture((80, 112), seed=0)
    frames = [np.roll(picture, (4 * t, 8 * t), (0, 1)) for t in range(4)]
    points = np.array([[20.0, 16.0], [48.0, 40.0]], np.float32)
    for codec, tolerance in (('image', 1.5), ('input', 1.0), ('grid', 4.0)):
        model = color_model(device, short_side=None, radius=3, topk=1, points=codec)
        sample = model.predict(frames, BaseDataElement(given_points={0: points[:1], 1: points[1:] + (8, 4)}))
        assert sample.pred_points.shape == (4, 2, 2)
        expected = points + np.arange(4)[:, None, None] * np.array([8.0, 4.0])
        # One that is not yet given is nowhere.
        expected[0, 1] = -1
        assert np.abs(sample.pred_points - expected).max() < tolerance
    with pytest.raises(ValueError, match='is for masks'):
        color_model().predict(frames, BaseDataElement(given_points={0: points}))


def test_scores_are_given_to_those_who_ask_and_a_first_mask_is_needed():
    frames, masks = moving_shapes(2, (64, 96), 1)
    model = color_model(short_side=None)
    assert 'pred_scores' not in model.predict(list(frames), BaseDataElement(given_masks={0: masks[0]}))
    with pytest.raises(ValueError, match=r'must be masks for frame 0, or points, got masks for frames \[1\]'):
        model.predict(list(frames), BaseDataElement(given_masks={1: masks[1]}))
    with pytest.raises(ValueError, match=r'must be masks for frame 0, or points, got masks for frames \[\]'):
        model.predict(list(frames), BaseDataElement())
    with pytest.raises(ValueError, match='zip'):
        model([list(frames)] * 2, [BaseDataElement(given_masks={0: masks[0]})], mode='predict')


def test_the_input_is_resized_and_coloured_as_the_protocol_says():
    frames, _ = moving_shapes(1, (30, 50), 1)
    for changes, size in (
        (dict(short_side=15), (15, 25)),
        (dict(short_side=None, size=(12, 20)), (12, 20)),
        (dict(short_side=24, multiple=16), (24, 32)),
        (dict(short_side=None), (30, 50)),
    ):
        assert color_model(**changes).prepare(frames[0]).shape == (3, *size)
    expected = (frames[0].astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.228, 0.224, 0.225]
    ours = color_model(short_side=None, color='rgb_dino').prepare(frames[0])
    assert_close(ours, torch.from_numpy(expected).permute(2, 0, 1).float(), rtol=0, atol=1e-6)


def test_training_and_protocol_must_agree_on_colours():
    with pytest.raises(ValueError, match=r'trained on lab, .* evaluates on rgb\. Set model\.propagator\.protocol'):
        MODELS.build(
            dict(
                type='stt_mm.Correspondence',
                data_preprocessor=dict(type='stt_mm.ClipDataPreprocessor'),
                backbone=dict(type='stt_mm.ColorPatches'),
                feature_stage=None,
                propagator=dict(type='stt_mm.LabelPropagator', protocol='vfs_davis_r18'),
            )
        )


def test_a_stride_that_the_protocol_is_not_meant_for_is_told_once(caplog):
    frames, masks = moving_shapes(3, (64, 96), 1)
    model = color_model(short_side=None)
    MMLogger.get_current_instance().addHandler(caplog.handler)
    for _ in range(2):
        model.predict(list(frames), BaseDataElement(given_masks={0: masks[0]}))
    assert caplog.text.count('stride 4, the numbers of the protocol stt_davis_s8 v1 changed: short_side=None') == 1


def test_a_feature_of_a_frame_is_that_of_its_input():
    frames, _ = moving_shapes(1, (64, 96), 1)
    model = color_model(short_side=None)
    feature = model.feature(frames[0])
    assert torch.equal(feature, model.feature(model.prepare(frames[0])))
    assert torch.equal(feature, model(model.prepare(frames[0])[None])[0])


@pytest.mark.parametrize(
    'given', [dict(given_masks={0: np.ones((8, 8), np.uint8)}), dict(given_points={0: np.ones((1, 2))})]
)
def test_a_model_without_a_propagator_says_so(given):
    model = MODELS.build(
        dict(type='stt_mm.Correspondence', feature_stage=None, backbone=dict(type='stt_mm.ColorPatches'))
    )
    assert model.protocol is None
    with pytest.raises(RuntimeError, match='set model.propagator in the config'):
        model.predict([np.ones((8, 8, 3), np.uint8)], BaseDataElement(**given))


@pytest.mark.parametrize('known', [True, False])
def test_weights_are_read_as_they_are_asked_for(known, monkeypatch):
    asked = []
    report = SimpleNamespace(geometry=dict(depth=1))
    monkeypatch.setattr('stt_mm.models.correspondence.base.load_backbone', lambda *args: asked.append(args) or report)
    backbone = torch.nn.Linear(2, 2)
    model = MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=None,
            backbone=dict(type='stt_mm.CorrespondenceResNet', depth=18),
        )
    )
    if not known:
        model = SimpleNamespace(backbone=backbone)
    assert load_for_evaluation(model, 'file.pth', True, True, 'a.', True) is report
    assert load_for_evaluation(model, 'file.pth') is report
    geometry = model.geometry if known else None
    assert asked == [
        (model.backbone, 'file.pth', True, True, 'a.', geometry, True),
        (model.backbone, 'file.pth', False, False, None, geometry, False),
    ]
    for other, message in (
        (SimpleNamespace(backbones=[]), 'several networks'),
        (color_model(), 'no backbone with wei'),
        (SimpleNamespace(), 'no backbone with weights'),
    ):
        with pytest.raises(ValueError, match=message):
            load_for_evaluation(other, 'file.pth')


@pytest.mark.parametrize('stage', ['res3', 'res4'])
def test_the_record_of_an_evaluation_names_the_stage(stage):
    model = MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=stage,
            backbone=dict(type='stt_mm.CorrespondenceResNet', depth=18),
            propagator=dict(type='stt_mm.LabelPropagator', protocol='stt_davis_s8'),
        )
    )
    assert model.protocol == dict(model.propagator.protocol.record(), feature_stage=stage)
    assert [geometry['stage'] for _, geometry in model.networks()] == [stage]
    assert model(torch.zeros(1, 3, 64, 64)).shape == dict(res3=(1, 128, 16, 16), res4=(1, 256, 8, 8))[stage]


def test_the_network_says_which_colours_it_sees(monkeypatch):
    statistics = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    with pytest.raises(ValueError, match="color='network' takes the mean .* ColorPatches states none"):
        color_model(color='network')
    stated = [list(values) for values in statistics]
    monkeypatch.setattr(MODELS.get('stt_mm.ColorPatches'), 'statistics', stated, raising=False)
    model, named = (color_model(color=color, short_side=None) for color in ('network', statistics))
    image = texture((16, 24), seed=0)
    assert torch.equal(model.feature(image), named.feature(image))
    expected = (torch.from_numpy(image).permute(2, 0, 1) / 255 - torch.tensor(statistics[0])[:, None, None]) / (
        torch.tensor(statistics[1])[:, None, None]
    )
    assert_close(model.prepare(image), expected)
    assert model.protocol['statistics'] == [list(values) for values in statistics]
    assert 'statistics' not in named.protocol
    assert named.protocol['color'] == [list(values) for values in statistics]


def test_frames_are_resized_by_the_filter_of_the_protocol():
    image = texture((60, 100), seed=0)
    for rule in ('bilinear', 'bicubic'):
        model = color_model(short_side=24, resize=rule)
        assert torch.equal(model.prepare(image), image_to_input(resize_frame(image, (24, 40), rule), 'lab'))


def test_data_of_another_size_than_the_numbers_were_made_on_is_told_once(caplog):
    model = color_model(short_side=None, data_size=(24, 40))
    MMLogger.get_current_instance().addHandler(caplog.handler)
    try:
        model.prepare(texture((24, 40), seed=0))
        assert not caplog.text
        for _ in range(3):
            model.prepare(texture((24, 36), seed=0))
    finally:
        MMLogger.get_current_instance().removeHandler(caplog.handler)
    assert caplog.text.count('The frames are 24 x 36') == 1
    assert 'at 24 x 40: see tools/dataset/make_davis_480_880.py' in caplog.text
