"""Loaders and workers of the training loops, and what the loops do without being told."""

import inspect
import os
import signal
import time
from itertools import count
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from test_engine.toy_project import ToyDataset, ToyMetric, ToyModel
from test_engine.toy_runs import train

from stt_mm.engine import CheckpointHook, FiniteLossHook, StopSignalHook
from stt_mm.engine.loops import IterLoop, JointIterLoop

JOINT = """
train_cfg = dict(type='JointIterLoop', max_iters=4, image_dataloader=dict(
    batch_size=2, num_workers=0, dataset=dict(type='ToyDataset', length=7), sampler=dict(type='TrainSampler'),
    collate_fn=dict(type='default_collate')))
"""
SMALL = {'train_cfg.max_iters': 4, 'train_cfg.val_interval': 2}
WORKERS = {f'{name}.num_workers': 1 for name in ('train_dataloader', 'val_dataloader')}


@pytest.fixture
def joint(monkeypatch):
    """A model of videos and images; the batches that it has seen."""
    forward, seen = ToyModel.forward, []

    def both(self, video=None, image=None, inputs=None, mode='tensor'):
        if video is None:
            return forward(self, inputs, mode)
        seen.append((video['inputs'], image['inputs']))
        return dict(loss=forward(self, video['inputs'], mode)['loss'] + forward(self, image['inputs'], mode)['loss'])

    monkeypatch.setattr(ToyModel, 'forward', both)
    return seen


def defaults(kind):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is not parameter.empty
    }


def test_what_is_usual():
    loop = dict(val_interval=1000)
    assert defaults(IterLoop) == loop
    assert defaults(JointIterLoop) == loop
    assert (FiniteLossHook().limit, StopSignalHook().sync_interval) == (10, 10)
    hook = CheckpointHook()
    assert (hook.interval, hook.by_epoch, hook.max_keep_ckpts) == (-1, False, -1)
    assert hook.save_optimizer
    assert hook.save_param_scheduler
    assert hook.save_last
    assert hook.save_best is None


@pytest.mark.parametrize('workers', [0, 1])
def test_videos_and_images_come_together_and_go_on_after_a_resume(joint, tmp_path, workers):
    options = {'train_dataloader.num_workers': workers, 'train_cfg.image_dataloader.num_workers': workers}
    runner = train(tmp_path, JOINT, **options)
    whole = list(joint)
    assert [(len(video), len(image)) for video, image in whole] == 4 * [(4, 2)]
    draws = torch.cat([image for _, image in whole])
    assert len({float(image.sum()) for image in draws}) == 8
    joint.clear()
    (tmp_path / 'b').mkdir()
    stopped = train(tmp_path / 'b', JOINT, **options, **{'train_cfg.max_iters': 2})
    train(tmp_path / 'b', JOINT, resume=Path(stopped.work_dir, 'iter_2.pth'), **options)
    assert len(joint) == 4
    assert all(
        torch.equal(one, other)
        for first, second in zip(whole, joint, strict=True)
        for one, other in zip(first, second, strict=True)
    )
    assert runner.iter == 4


class Signals(Hook):
    """Every worker gets each of these signals at each iteration and in each validation."""

    def __init__(self):
        self.sent = 0

    def before_train_iter(self, *args, **kwargs):
        for worker in active_children():
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
                os.kill(worker.pid, number)
                self.sent += 1

    before_val_iter = before_train_iter


def test_workers_outlive_a_signal_to_all_and_call_their_own_function(joint, tmp_path):
    """Those of videos, of images and of validation; a worker that a signal ends makes the training fail."""
    FUNCTIONS.register_module(name='touch', module=touch, force=True)
    hook = Signals()
    HOOKS.register_module(name='Signals', module=lambda: hook, force=True)
    init = dict(type='mmengine.touch', folder=str(tmp_path))
    options = {
        **WORKERS,
        'train_cfg.image_dataloader.num_workers': 1,
        'train_cfg.val_interval': 2,
        'train_dataloader.worker_init_fn': init,
        'train_cfg.image_dataloader.worker_init_fn': init,
        'val_dataloader.worker_init_fn': init,
    }
    train(tmp_path, JOINT, custom_hooks=[dict(type='mmengine.Signals')], **options)
    assert hook.sent >= 4 * 4 * 2
    assert active_children() == []
    # One of videos, one of images, and one of each of the two validations.
    assert len(list(tmp_path.glob('worker_0_*'))) == 4


def touch(worker_id, folder, **kwargs):
    Path(folder, f'worker_{worker_id}_{os.getpid()}').touch()


@pytest.mark.parametrize('place', ['data', 'model', 'validation'])
def test_no_worker_is_left_while_somebody_holds_the_error(tmp_path, monkeypatch, place):
    kind, name = dict(data=(ToyDataset, '__getitem__'), model=(ToyModel, 'forward'), validation=(ToyMetric, 'process'))[
        place
    ]

    def fail(*args, **kwargs):
        raise RuntimeError('no more')

    monkeypatch.setattr(kind, name, fail)
    with pytest.raises(RuntimeError, match='no more') as held:
        train(tmp_path, **SMALL, **WORKERS)
    assert active_children() == []
    assert held.value is not None


def test_workers_end_with_the_training_in_the_midst_of_a_sample_too(tmp_path, monkeypatch):
    """Those that would persist, and one that does not hear the message of its trainer."""
    load, calls = ToyDataset.__getitem__, count()

    def sleep_in_the_end(self, key):
        if isinstance(key, tuple) and next(calls) >= 4 * 4:  # those of the validation are not drawn
            time.sleep(60)
        return load(self, key)

    monkeypatch.setattr(ToyDataset, '__getitem__', sleep_in_the_end)
    monkeypatch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 0.5)
    persistent = {f'{name}.persistent_workers': True for name in ('train_dataloader', 'val_dataloader')}
    runner = train(tmp_path, **SMALL, **WORKERS, **persistent)
    deadline = time.monotonic() + 10
    while active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert active_children() == []
    assert runner.iter == 4
