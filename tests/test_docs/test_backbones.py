"""The configs of docs/backbones.md load, build and give maps; the network of one's own reads torchvision's file."""

import re
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.registry import init_default_scope

from stt_mm.engine import load_config
from stt_mm.registry import MODELS
from stt_mm.utils.weights import load_backbone

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'```python title=(\S+)\n(.*?)^```', re.MULTILINE | re.DOTALL)
BLOCKS = dict(BLOCK.findall((ROOT / 'docs' / 'backbones.md').read_text(encoding='utf-8')))
MAPS = {
    'configs/eval/davis_dinov2_reg4_vits14.py': (56, (1, 384, 4, 4)),
    'configs/eval/davis_imagenet_r18.py': (64, (1, 256, 8, 8)),
    'configs/eval/davis_swin.py': (224, (1, 192, 28, 28)),
    'configs/eval/davis_convnext.py': (64, (1, 384, 4, 4)),
}


def test_each_block_is_tested():
    assert {*MAPS, 'my_networks.py'} == set(BLOCKS)


@pytest.mark.parametrize('name', MAPS)
def test_the_config_gives_maps(name, tmp_path, monkeypatch):
    pytest.importorskip('timm')
    assert not (ROOT / name).exists()
    (tmp_path / 'my_networks.py').write_text(BLOCKS['my_networks.py'], encoding='utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / Path(name).name
    path.write_text(BLOCKS[name].replace("'../_base_", f"'{ROOT}/configs/_base_"), encoding='utf-8')
    cfg = load_config(path)
    init_default_scope('stt_mm')
    try:
        model = MODELS.build(cfg.model)
        model.init_weights()
        model.eval()
        side, shape = MAPS[name]
        with torch.no_grad():
            feature = model.extract_feat(torch.rand(1, 3, side, side))[model.feature_stage]
        assert tuple(feature.shape) == shape
        # The compared map has the stride that the protocol states.
        assert model.propagator.protocol.stride == side // shape[-1]
        if 'convnext' in name:
            torch.save(torchvision.models.convnext_tiny().state_dict(), tmp_path / 'file.pth')
            assert load_backbone(model.backbone, tmp_path / 'file.pth').ratio == 1
    finally:
        MODELS.module_dict.pop('ConvNeXtTiny', None)
        sys.modules.pop('my_networks', None)
