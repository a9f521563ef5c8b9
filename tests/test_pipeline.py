"""Frames to scores against what the released code gives for the same frames and the same random ResNet-18."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torchvision.models import resnet18

from stt_mm.datasets import DAVIS, JHMDB, VIP
from stt_mm.evaluation.metrics import DAVISMetric, JHMDBMetric, VIPMetric
from stt_mm.registry import MODELS
from stt_mm.utils.config_path import config_path
from stt_mm.utils.weights import load_backbone


def random_weights():
    """Weights from one generator, block by block with the shortcut last, and all statistics after them."""
    shapes = {name: value.shape for name, value in resnet18().state_dict().items()}
    layers = ['conv1', 'bn1']
    for stage in range(1, 5):
        for block in range(2):
            layers += [f'layer{stage}.{block}.{part}' for part in ('conv1', 'bn1', 'conv2', 'bn2')]
            if stage > 1 and block == 0:
                layers += [f'layer{stage}.0.downsample.0', f'layer{stage}.0.downsample.1']
    generator, weights = torch.Generator().manual_seed(0), {}
    norms = [layer for layer in layers if f'{layer}.bias' in shapes]
    for layer in layers:
        shape = shapes[f'{layer}.weight']
        if layer in norms:
            weights[f'{layer}.weight'] = 0.5 + torch.rand(shape, generator=generator)
            weights[f'{layer}.bias'] = 0.1 * torch.randn(shape, generator=generator)
        else:
            fan_out = shape[0] * shape[2] * shape[3]
            weights[f'{layer}.weight'] = torch.randn(shape, generator=generator) * (2 / fan_out) ** 0.5
    for layer in norms:
        shape = shapes[f'{layer}.weight']
        weights[f'{layer}.running_mean'] = 0.1 * torch.randn(shape, generator=generator)
        weights[f'{layer}.running_var'] = 0.5 + torch.rand(shape, generator=generator)
    return weights


def evaluate(config, dataset, metric, tmp_path, expected=None, **changes):
    """Scores of a shipped config with the random weights; ``expected`` masks are compared on the way."""
    init_default_scope('stt_mm')
    torch.save(random_weights(), tmp_path / 'resnet18.pth')
    cfg = Config.fromfile(config_path(f'eval/{config}')).model
    cfg.propagator.protocol.update(changes)
    model = MODELS.build(cfg)
    assert load_backbone(model.backbone, tmp_path / 'resnet18.pth').ratio == 1
    model.eval()
    for index in range(len(dataset)):
        item = dataset[index]
        sample = model.predict(item['inputs'], item['data_samples'])
        if expected is not None:
            assert (sample.pred_masks != list(expected.values())[index]).mean() < 1e-4
        metric.process(None, [sample.to_dict()])
    return metric.evaluate(len(dataset))


@pytest.mark.parametrize(('short_side', 'name'), [(120, 'expected_s120'), (480, 'expected')])
def test_davis_masks_and_scores_are_those_of_the_released_code(short_side, name, data, tmp_path):
    folder = data / 'pipeline'
    scores = evaluate(
        'davis_r18_s8',
        DAVIS(str(folder / 'davis')),
        DAVISMetric(),
        tmp_path,
        np.load(folder / f'{name}.npz'),
        short_side=short_side,
    )
    for key, value in json.loads((folder / f'{name}.json').read_text()).items():
        assert scores[key] == pytest.approx(value, abs=1e-3)


def test_vip_masks_and_scores_are_those_of_the_released_code(data, tmp_path):
    folder = data / 'pipeline'
    scores = evaluate(
        'vip_r18_s8', VIP(str(folder / 'vip')), VIPMetric(), tmp_path, np.load(folder / 'expected_vip.npz')
    )
    expected = json.loads((folder / 'expected_vip.json').read_text())
    # The released code rounds to 0.01 %.
    assert scores['mIoU'] == pytest.approx(expected['mIoU'], abs=1e-4)


def test_jhmdb_scores_are_those_of_the_released_code_and_of_crw(data, tmp_path):
    folder = data / 'pipeline'
    dataset = JHMDB(str(folder / 'jhmdb'), video_list='val_list.txt')
    scores = evaluate('jhmdb_r18_s8', dataset, JHMDBMetric(), tmp_path)
    for key, value in json.loads((folder / 'expected_jhmdb.json').read_text()).items():
        assert scores[f'STT/{key}'] == pytest.approx(value, abs=1e-6)
    # What CRW's eval_pck.py gives for the joints that the released code decodes.
    for threshold, value in zip((0.1, 0.2, 0.3, 0.4, 0.5), (54.44444444, 89.19191919, 100, 100, 100), strict=True):
        assert scores[f'CRW/PCK@{threshold}'] == pytest.approx(value, abs=1e-6)
