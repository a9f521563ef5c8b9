"""Configs of MAST, LIIR, and STT with LIIR under the runner: steps, resuming, two processes, what a GPU waits for."""

from pathlib import Path

import pytest
import torch
from mmengine.structures import BaseDataElement
from op_counter import OpCounter
from pretrain_runs import run_config
from test_models.test_training_step import build, clip
from tiny_data import make_youtube_vos
from torch._dynamo.testing import CompileCounter
from two_process_states import states_of_two

from stt_mm.engine import load_config

ROOT = Path(__file__).parents[2]
LIIR = {'model.negatives.frames': 6, 'model.negatives.points': 2, 'model.negatives.stored': 4}
SMALL = {
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'train_dataloader.dataset.split': 'train',
    'train_dataloader.dataset.interval': (1, 2),
    'train_dataloader.dataset.interval_probs': None,
    'train_dataloader.dataset.pipeline.1.size': (64, 64),
    'val_dataloader': None,
    'val_cfg': None,
    'val_evaluator': None,
    'default_hooks.checkpoint.save_best': None,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
    'default_hooks.logger.interval': 1,
    'visualizer.vis_backends': None,
    'train_cfg.val_interval': 9,
}
# Steps, and whether there is a bank: 2 frames go in per step, and the fourth step is at its start again.
CONFIGS = [('mast_r18_ytv', 2), ('liir_r18_ytv_warmup', 2), ('liir_r18_ytv', 4), ('stt_liir_r18_ytv', 2)]


def config(name, root, steps, **changes):
    bank = LIIR if name in ('liir_r18_ytv', 'stt_liir_r18_ytv') else {}
    options = {**SMALL, **bank, 'train_dataloader.dataset.data_root': str(root), 'train_cfg.max_iters': steps}
    cfg = load_config(name, options | changes)
    cfg.model.backbone.init_cfg = None
    if cfg.model.get('teacher'):
        cfg.model.teacher.backbone.init_cfg = None
    return cfg


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp('youtube_vos')
    make_youtube_vos(root, num_videos=6)
    return root


@pytest.mark.parametrize(('name', 'steps'), CONFIGS)
def test_a_resumed_training_has_the_same_bits(name, steps, videos, tmp_path):
    """Weights, the moving average, the bank with its videos and its pointer, and what the log says."""
    cfg, stopped = config(name, videos, steps), tmp_path / 'a' / f'iter_{steps - 1}.pth'
    straight = run_config(cfg, tmp_path / 'a', written=[steps - 1])
    resumed = run_config(cfg, tmp_path / 'b', stopped, written=[])
    one, two = straight.model.state_dict(), resumed.model.state_dict()
    assert [key for key in one if not torch.equal(one[key], two[key])] == []
    keys = ['train/loss', 'train/gate'] if 'negatives.bank.queue' in one else ['train/loss']
    for key in keys:
        first, second = (runner.message_hub.get_scalar(key).data[0] for runner in (straight, resumed))
        assert len(first) == steps
        assert first.tolist() == second.tolist()
    assert all(type(value) is torch.Tensor for value in torch.load(stopped)['state_dict'].values())
    if len(keys) == 2:
        bank = straight.model.negatives.bank
        assert bank.pointer.item() == 2 * steps % 6
        assert (bank.videos >= 0).sum() == min(2 * steps, 6)
        assert straight.model.negatives.encoder.steps == steps


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'steps'), CONFIGS)
def test_two_processes_have_equal_banks_and_networks(name, steps, videos, tmp_path):
    one, two = states_of_two(config(name, videos, steps), tmp_path)
    own = ('running_mean', 'running_var')
    assert [key for key in one if not key.endswith(own) and not torch.equal(one[key], two[key])] == []
    if 'negatives.bank.videos' in one:
        videos = one['negatives.bank.videos']
        assert (videos >= 0).sum() == min(4 * steps, 6)
        assert len(set(videos.tolist())) > 2


def numbered(batch):
    return [BaseDataElement(metainfo=dict(sample_idx=index)) for index in range(batch)]


@pytest.mark.parametrize(('name', 'most'), [('mast_r18_ytv', 330), ('liir_r18_ytv', 1100), ('stt_liir_r18_ytv', 1300)])
def test_a_step_waits_for_nothing(name, most):
    """Nor do draws, the bank and the moving average."""
    model = build(name)
    with OpCounter() as counter:
        counter.to_device(model)
        model._set_device(torch.device('cuda'))
        batch = dict(inputs=counter.pin(torch.empty(4, 2, 3, 256, 256, dtype=torch.uint8)), data_samples=numbered(4))
        counter.reset()
        model(**model.data_preprocessor(batch, training=True), mode='loss')
    print(f'\n{name}: {counter}')
    assert counter.waits == []
    assert counter.total <= most


@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('name', ['mast_r18_ytv', 'liir_r18_ytv', 'stt_liir_r18_ytv'])
def test_a_compiled_loss_is_one_graph(name, amp):
    """What is drawn and remembered before it stays outside."""
    counter, found = CompileCounter(), []
    for compiled in (False, True):
        model = build(name, **({} if name == 'mast_r18_ytv' else dict(negatives=dict(frames=6, points=2, stored=4))))
        model.init_weights()
        if compiled:
            model.loss = torch.compile(model.loss, backend=counter)
        found.append([])
        for seed in (0, 1):
            torch.manual_seed(seed)
            batch = dict(clip(size=64), data_samples=numbered(2))
            with torch.autocast('cpu', torch.bfloat16, enabled=amp):
                losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
            sum(value for key, value in losses.items() if 'loss' in key).backward()
            found[-1].append({key: value.item() for key, value in losses.items()})
        found[-1].append(model.backbone.conv1.weight.grad)
    assert counter.frame_count == 1
    assert found[1][0] == pytest.approx(found[0][0])
    assert (found[0][2] - found[1][2]).norm() < (0.1 if amp else 1e-4) * found[0][2].norm()
    torch._dynamo.reset()
