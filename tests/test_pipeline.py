"""Frames to scores against what the released code gives for the same frames and the same random ResNet-18."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torchvision.models import resnet18

from stt_mm.datasets import DAVIS
from stt_mm.evaluation.metrics import DAVISMetric
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import load_backbone
from stt_mm.utils.config_path import config_path


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


@pytest.mark.parametrize(('short_side', 'name'), [(120, 'expected_s120'), (480, 'expected')])
def test_masks_and_scores_are_those_of_the_released_code(short_side, name, data, tmp_path):
    init_default_scope('stt_mm')
    torch.save(random_weights(), tmp_path / 'resnet18.pth')
    model = MODELS.build(Config.fromfile(config_path('eval/davis_r18_s8')).model)
    assert load_backbone(model.backbone, tmp_path / 'resnet18.pth').ratio == 1
    model.eval()
    metric = DAVISMetric()
    golden = np.load(data / 'pipeline' / f'{name}.npz')
    for item, expected in zip(DAVIS(str(data / 'pipeline' / 'davis'), short_side=short_side), golden.values(),
                              strict=True):
        sample = model.predict(item['inputs'], item['data_samples'])
        assert (sample.pred_masks != expected).mean() < 1e-4
        metric.process(None, [sample.to_dict()])
    scores = metric.evaluate(len(golden))
    for key, value in json.loads((data / 'pipeline' / f'{name}.json').read_text()).items():
        assert scores[key] == pytest.approx(value, abs=1e-3)
