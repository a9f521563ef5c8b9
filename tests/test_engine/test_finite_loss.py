"""Trainings that diverge."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import HistoryBuffer
from test_engine.toy_project import ToyModel
from test_engine.toy_runs import train

from stt_mm.engine import FiniteLossHook
from stt_mm.engine.hooks import finite_loss_hook
from stt_mm.engine.hooks.finite_loss_hook import loss_is_finite, on_any_rank

HOOK = 'default_hooks.checkpoint'
KEEP_ONE = {f'{HOOK}.interval': 1, f'{HOOK}.max_keep_ckpts': 1}


def hooks(limit):
    return dict(custom_hooks=[dict(type='FiniteLossHook', limit=limit)])


def losses(monkeypatch, at, value, gradient=False):
    """The losses of some iterations, counted from 1, are ``value``; with a gradient to match, or with their own."""
    forward, calls = ToyModel.forward, []

    def call(self, inputs, mode='tensor'):
        out = forward(self, inputs, mode)
        if mode == 'loss':
            calls.append(1)
            if len(calls) in at:
                out = dict(loss=out['loss'] * value if gradient else out['loss'] + value)
        return out

    monkeypatch.setattr(ToyModel, 'forward', call)


def files(tmp_path):
    return sorted(path.name for path in tmp_path.glob('work/*.pth'))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_training_stops_after_as_many_bad_losses_and_the_last_good_file_is_kept(tmp_path, monkeypatch, value):
    losses(monkeypatch, range(3, 99), value)
    with pytest.raises(ValueError, match=r'not finite in the 3 iterations up to 5\. .*from .*iter_2\.pth, with --res'):
        train(tmp_path, **KEEP_ONE, **hooks(3))
    assert files(tmp_path) == ['iter_2.pth']


def test_without_a_checkpoint_there_is_nothing_to_resume_from(tmp_path, monkeypatch):
    losses(monkeypatch, range(1, 99), float('nan'))
    with pytest.raises(ValueError, match=r'up to 3\. Lower the learning rate, .* without --amp, and start again\.$'):
        train(tmp_path, **hooks(3))


def test_a_few_bad_losses_pass_and_no_file_is_written_meanwhile(tmp_path, monkeypatch, caplog):
    """As with loss scaling, which leaves such a step out."""
    losses(monkeypatch, (3, 4, 6, 7), float('inf'))
    train(tmp_path, **hooks(3), **{f'{HOOK}.interval': 1, f'{HOOK}.max_keep_ckpts': -1})
    assert files(tmp_path) == [f'iter_{step}.pth' for step in sorted((1, 2, 5, *range(8, 13)), key=str)]


@pytest.mark.parametrize('save_best', [None, 'score'])
def test_weights_that_are_not_finite_are_never_written(tmp_path, monkeypatch, save_best):
    losses(monkeypatch, (3,), float('nan'), gradient=True)
    losses_after = {f'{HOOK}.save_best': save_best, f'{HOOK}.rule': 'greater', **KEEP_ONE, f'{HOOK}.interval': 2}
    with pytest.raises(ValueError, match=r'after iteration 4: backbone.0.weight holds 108 of 108 .* No checkpoint'):
        train(tmp_path, **losses_after, **hooks(5), **{'train_cfg.val_interval': 5})
    assert files(tmp_path) == ['iter_2.pth']


def test_nor_scored(tmp_path, monkeypatch):
    losses(monkeypatch, (3,), float('nan'), gradient=True)
    with pytest.raises(ValueError, match='after iteration 5: backbone.0.weight holds 108'):
        train(tmp_path, **{f'{HOOK}.save_best': 'score', f'{HOOK}.rule': 'greater', f'{HOOK}.interval': 20})
    assert files(tmp_path) == []


def test_a_much_too_large_rate(tmp_path):
    with pytest.raises(ValueError, match='not finite|infinite'):
        train(tmp_path, param_scheduler=None, **KEEP_ONE, **hooks(3), **{'optim_wrapper.optimizer.lr': 1e30})
    for path in Path(tmp_path, 'work').glob('*.pth'):
        state = torch.load(path, weights_only=True)['state_dict']
        assert all(value.isfinite().all() for value in state.values())


def test_statistics_count_as_weights(tmp_path, monkeypatch):
    forward = ToyModel.forward

    def call(self, inputs, mode='tensor'):
        self.backbone[1].running_var[0] = float('inf')
        return forward(self, inputs, mode)

    monkeypatch.setattr(ToyModel, 'forward', call)
    with pytest.raises(ValueError, match='backbone.1.running_var holds 1 of 4 values'):
        train(tmp_path, **{'model.norm': True})


def test_limits_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match='limit must be a whole number of at least 1, got 0'):
        train(tmp_path, **hooks(0))


@pytest.fixture
def other_rank(monkeypatch):
    """A second process, whose value in the exchange is the last of the list."""
    values = []

    def all_reduce(tensor, op):
        assert op == 'max'
        tensor.fill_(max(int(tensor), int(values[-1])))

    monkeypatch.setattr(finite_loss_hook, 'get_world_size', lambda: 2)
    monkeypatch.setattr(finite_loss_hook, 'all_reduce', all_reduce)
    return values


def runner(losses, iteration=None):
    buffer = HistoryBuffer()
    for loss in losses:
        buffer.update(loss)
    hub = SimpleNamespace(log_scalars={'train/loss': buffer} if losses else {}, get_info=lambda name: None)
    return SimpleNamespace(message_hub=hub, iter=len(losses) - 1 if iteration is None else iteration)


@pytest.mark.parametrize(('own', 'other', 'largest'), [(0, 0, 0), (True, False, 1), (0, 15, 15), (15, 2, 15)])
def test_the_largest_value_of_all_processes(other_rank, own, other, largest):
    other_rank.append(other)
    assert on_any_rank(own) == largest


def test_one_process_asks_no_other(monkeypatch):
    monkeypatch.setattr(finite_loss_hook, 'all_reduce', None)
    assert on_any_rank(7) == 7
    assert loss_is_finite(runner([float('nan'), 1.0]))
    assert not loss_is_finite(runner([1.0, float('inf')]))
    assert loss_is_finite(runner([]))


def test_a_bad_loss_of_another_process_counts(other_rank):
    other_rank.append(1)
    assert not loss_is_finite(runner([1.0]))


@pytest.mark.parametrize(
    ('other', 'losses', 'raised'),
    [
        (1, [1.0] * 6, True),
        (0, [1.0] * 6, False),
        (0, [1.0] * 3 + [float('nan')] * 3, True),
        (0, [float('nan')] * 5 + [1.0], False),
        (1, [1.0] * 5, False),
        (1, [1.0] * 7, False),
        (0, [float('nan')] * 5, False),
    ],
)
def test_several_processes_look_at_multiples_of_the_limit(other_rank, other, losses, raised):
    other_rank.append(other)
    hook = FiniteLossHook(limit=3)
    if raised:
        with pytest.raises(ValueError, match='in the 3 iterations up to 6'):
            hook.after_train_iter(runner(losses), 0)
    else:
        hook.after_train_iter(runner(losses), 0)
