"""What a program that knows MMEngine alone can do with the shipped configs."""

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
from continual_data import write_stage1
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_data import make_davis, make_youtube_vos

from stt_mm.registry import MODELS

ROOT = Path(__file__).parents[1]
SCRIPT = f"""from mmengine import Config, runner
cfg = Config.fromfile('{ROOT}/configs/stt_r18_ytv.py')
SMALLER
runner.Runner.from_cfg(cfg).train()
"""
SMALL = {
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 1,
    'train_dataloader.dataset.pipeline.1.size': (64, 64),
    'model.propagator.protocol.short_side': 48,
    'default_hooks.logger.interval': 1,
}


def test_a_script_that_knows_mmengine_alone_trains_and_validates(tmp_path):
    make_youtube_vos(tmp_path / 'data' / 'YouTubeVOS', num_videos=4, num_frames=3)
    make_davis(tmp_path / 'data' / 'DAVIS', num_videos=1)
    write_stage1(tmp_path / 'stage1.pth')
    script = SCRIPT.replace('SMALLER', f'cfg.merge_from_dict({SMALL})')
    done = subprocess.run(
        [sys.executable, '-c', script],
        env=dict(os.environ, STT_DATA='data', STT_STAGE1_R18='stage1.pth', PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert 'loss_global' in done.stdout
    assert 'J&F-Mean' in done.stdout
    assert (tmp_path / 'work_dirs' / 'iter_2.pth').is_file()


@pytest.mark.parametrize(
    'name',
    [
        'stt_r18_demo',
        'crw/crw_r18_ytv',
        'pretrain/mocov2_r18_demo',
        'continual/joint_r18_demo',
        'continual/temporal_then_spatial_r18_ewc',
        'eval/davis_mmpretrain_vit',
    ],
)
def test_a_notebook_without_a_default_scope_builds_a_model(name, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    (cfg.model if 'queue_len' in cfg.model else {}).update(queue_len=16)
    assert type(MODELS.build(cfg.model)).__name__ == cfg.model.type.rpartition('.')[2]
    assert DefaultScope.get_current_instance() is None
