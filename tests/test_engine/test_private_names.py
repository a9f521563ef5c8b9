"""Each private name of a library that the toolbox needs: one that is gone shows here, not in a training."""

import inspect

import pytest
import timm
import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader


@pytest.mark.parametrize(
    ('kind', 'method', 'arguments'),
    [
        (Runner, '_maybe_compile', ['self', 'target']),
        (IterBasedTrainLoop, '_decide_current_val_interval', ['self']),
        (CheckpointHook, '_save_checkpoint_with_step', ['self', 'runner', 'step', 'meta']),
        (CheckpointHook, '_save_best_checkpoint', ['self', 'runner', 'metrics']),
        (CheckpointHook, '_init_rule', ['self', 'rules', 'key_indicators']),
    ],
)
def test_methods_that_are_called_or_replaced(kind, method, arguments):
    assert list(inspect.signature(getattr(kind, method)).parameters) == arguments


def test_the_hook_calls_what_is_replaced():
    assert '_save_checkpoint_with_step' in inspect.getsource(CheckpointHook._save_checkpoint)
    assert '_save_checkpoint' in inspect.getsource(CheckpointHook.after_train_iter)
    assert '_save_best_checkpoint' in inspect.getsource(CheckpointHook.after_val_epoch)


def test_what_the_hook_has():
    hook = CheckpointHook(save_best=['acc', 'loss'])
    assert isinstance(CheckpointHook._default_greater_keys, list)
    assert hook.key_indicators == ['acc', 'loss']
    assert hook.rules == ['greater', 'less']
    assert hook.is_better_than['acc'](1, hook.init_value_map['greater'])
    assert hook.is_better_than['loss'](1, hook.init_value_map['less'])


def test_where_the_runner_compiles():
    assert "self._maybe_compile('train_step')" in inspect.getsource(Runner.train)


def test_where_the_loop_counts():
    """The runner sets it when it resumes."""
    assert '_iter' in inspect.getsource(IterBasedTrainLoop.run_iter)
    assert '_max_iters' in inspect.getsource(IterBasedTrainLoop.__init__)
    assert 'train_loop._iter' in inspect.getsource(Runner.resume)


def test_hooks_may_have_methods_of_their_own():
    """``after_loop`` is one."""
    assert 'hasattr(hook, fn_name)' in inspect.getsource(Runner.call_hook)


def test_a_loader_keeps_its_persistent_workers_by_an_iterator():
    loader = DataLoader(range(2), num_workers=1, persistent_workers=True)
    assert loader._iterator is None
    list(loader)
    workers = loader._iterator._workers
    loader._iterator = None
    assert all(worker.exitcode == 0 for worker in workers)


def test_tensors_state_dicts_and_batchnorm():
    value = torch.zeros(1)
    before = value._version
    value += 1
    assert value._version > before
    assert nn.BatchNorm2d(2).state_dict()._metadata
    assert issubclass(nn.BatchNorm2d, _BatchNorm)
    assert list(inspect.signature(nn.Module._apply).parameters) == ['self', 'fn', 'recurse']


def test_the_position_embedding_of_timm():
    network = timm.create_model('vit_tiny_patch16_224', pretrained=False, img_size=32)
    assert '_pos_embed(' in inspect.getsource(type(network).forward_features)


def test_the_rotary_positions_and_the_windows_of_timm():
    rope = timm.create_model('vit_small_patch16_dinov3', pretrained=False, depth=1).rope
    assert torch.equal(rope._compute_periods(), rope.periods)
    hiera = timm.create_model('hiera_tiny_224', pretrained=False, embed_dim=16, stages=(1, 1, 1, 1))
    assert '_pos_embed(' in inspect.getsource(type(hiera).forward_intermediates)
    for name in ('tokens_spatial_shape', 'mask_spatial_shape', 'mask_unit_size', 'patch_stride', 'q_stride', 'q_pool'):
        assert hasattr(hiera, name)
    for part in (hiera.unroll, hiera.reroll):
        assert type(part).__module__ == type(hiera).__module__
        assert type(part).__name__ in ('Unroll', 'Reroll')
