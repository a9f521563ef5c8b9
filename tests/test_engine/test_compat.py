"""What makes MMEngine run where it does not by itself: launchers, gloo, mixed precision and files that are trusted."""

import datetime
import inspect

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from stt_mm.engine import compat, enable_amp, finish_runtime, prepare_runtime
from stt_mm.engine.compat import broadcast_buffers, trusted_path

RANKS = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
LAUNCHERS = {
    'pytorch': RANKS,
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


@pytest.fixture
def started(monkeypatch):
    """A machine without a GPU, where process groups of three are only said to be there; what was called on them."""
    for name in (*sum(LAUNCHERS.values(), ()), 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_LAUNCH_NODE_IPADDR'):
        monkeypatch.setenv(name, 'unset')
        monkeypatch.delenv(name)
    calls = []
    distributed = torch.distributed
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(compat, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(distributed, 'is_initialized', lambda: bool(calls))
    monkeypatch.setattr(distributed, 'init_process_group', lambda *args, **kwargs: calls.append((args, kwargs)))
    monkeypatch.setattr(distributed, 'get_rank', lambda: int(compat.os.environ['RANK']))
    monkeypatch.setattr(distributed, 'get_world_size', lambda: 3)
    for name in ('barrier', 'destroy_process_group'):
        monkeypatch.setattr(distributed, name, lambda name=name: calls.append(name))
    return calls


def launched(monkeypatch, launcher):
    for name, value in zip(LAUNCHERS[launcher], (1, 3, 2), strict=True):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_each_launcher_says_who_a_process_is(started, monkeypatch, launcher):
    launched(monkeypatch, launcher)
    cfg = Config(dict(sync_bn='torch'))
    prepare_runtime(cfg, launcher)
    assert [compat.os.environ[name] for name in RANKS] == ['1', '3', '2']
    assert (compat.os.environ['MASTER_ADDR'], compat.os.environ['MASTER_PORT']) == ('127.0.0.1', '29500')
    assert started == [(('gloo',), dict(timeout=None))]
    assert cfg.to_dict() == dict(
        sync_bn=None,
        model_wrapper_cfg=dict(
            type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=False, device_ids=None
        ),
    )


def test_what_is_given_goes_before_what_is_usual(started, monkeypatch):
    launched(monkeypatch, 'slurm')
    monkeypatch.setenv('SLURM_LAUNCH_NODE_IPADDR', '10.0.0.7')
    monkeypatch.setenv('MASTER_PORT', '1234')
    cfg = Config(
        dict(
            env_cfg=dict(dist_cfg=dict(timeout=90)),
            find_unused_parameters=True,
            model_wrapper_cfg=dict(broadcast_buffers=True, device_ids=[0]),
        )
    )
    prepare_runtime(cfg, 'slurm')
    assert started == [(('gloo',), dict(timeout=datetime.timedelta(minutes=1.5)))]
    assert (compat.os.environ['MASTER_ADDR'], compat.os.environ['MASTER_PORT']) == ('10.0.0.7', '1234')
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel', broadcast_buffers=True, find_unused_parameters=True, device_ids=None
    )
    prepare_runtime(cfg, 'slurm')
    assert len(started) == 1


@pytest.mark.parametrize(
    ('rank', 'sync_bn', 'said'),
    [
        ('0', 'torch', ['No CUDA device: 3 processes on the CPU with gloo, without SyncBN.']),
        ('0', None, ['No CUDA device: 3 processes on the CPU with gloo.']),
        ('1', 'torch', []),
    ],
)
def test_the_first_process_says_what_is_different(started, monkeypatch, rank, sync_bn, said):
    launched(monkeypatch, 'pytorch')
    monkeypatch.setenv('RANK', rank)
    heard = []
    monkeypatch.setattr(compat, 'print_log', lambda text, logger: heard.append(text))
    prepare_runtime(Config(dict(sync_bn=sync_bn)), 'pytorch')
    assert heard == said


@pytest.mark.parametrize(('cuda', 'device'), [(True, 'cuda'), (True, 'cpu'), (False, 'npu')])
def test_on_accelerators_the_launcher_is_left_to_mmengine(started, monkeypatch, cuda, device):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    monkeypatch.setattr(compat, 'get_device', lambda: device)
    cfg = Config(dict(sync_bn='torch'))
    prepare_runtime(cfg, 'pytorch')
    assert started == []
    assert cfg.to_dict() == dict(sync_bn='torch')


def test_the_group_is_left_after_the_others_or_at_once(started):
    finish_runtime()
    assert started == []
    started.append('group')
    finish_runtime(together=False)
    assert started == ['group', 'destroy_process_group']
    finish_runtime()
    assert started[2:] == ['barrier', 'destroy_process_group']


def test_what_holds_the_group_is_collected_before(started, monkeypatch):
    collected = []
    monkeypatch.setattr(compat.gc, 'collect', lambda: collected.append(list(started)))
    started.append('group')
    finish_runtime()
    assert collected == [['group', 'barrier']]


def test_every_buffer_is_that_of_rank_0(monkeypatch):
    monkeypatch.setattr(compat, 'broadcast', lambda tensor: tensor.fill_(5))
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    weight = model[0].weight.clone()
    broadcast_buffers(model)
    assert [buffer.unique().tolist() for buffer in model.buffers()] == 3 * [[5]]
    assert torch.equal(model[0].weight, weight)


@pytest.mark.parametrize(
    ('given', 'cuda', 'expected'),
    [
        ({}, True, dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')),
        (
            dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='bfloat16'),
            True,
            dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='bfloat16'),
        ),
        (
            dict(type='OptimWrapper', clip_grad=dict(max_norm=1)),
            True,
            dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16', clip_grad=dict(max_norm=1)),
        ),
        ({}, False, dict(type='AutocastOptimWrapper')),
        (
            dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16', accumulative_counts=2),
            False,
            dict(type='AutocastOptimWrapper', accumulative_counts=2),
        ),
    ],
)
def test_mixed_precision_with_and_without_cuda(monkeypatch, given, cuda, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD'), **given)))
    enable_amp(cfg)
    assert cfg.optim_wrapper.to_dict() == dict(optimizer=dict(type='SGD'), **expected)


def test_a_trusted_file_is_read_onto_the_device_that_is_asked_for(tmp_path, monkeypatch):
    torch.save(dict(weight=torch.ones(2), code=inspect.Parameter.empty), tmp_path / 'a.pth')
    monkeypatch.chdir(tmp_path)
    name = trusted_path('a.pth')
    assert name == f'trusted:{tmp_path}/a.pth'
    monkeypatch.setenv('HOME', str(tmp_path))
    assert trusted_path('~/a.pth') == name
    content = CheckpointLoader.load_checkpoint(name, map_location='meta', logger='silent')
    assert content['weight'].device.type == 'meta'
    assert content['code'] is inspect.Parameter.empty
    assert CheckpointLoader.load_checkpoint(name, map_location='cpu', logger='silent')['weight'].tolist() == [1, 1]
