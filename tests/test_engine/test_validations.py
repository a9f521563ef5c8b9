"""Which validations run, and the files of the best scores, in trainings that are killed, stopped and resumed."""

import errno
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from test_engine.toy_project import ToyMetric, ToyModel
from test_engine.toy_runs import assert_same_checkpoints, train

from stt_mm.engine import CheckpointHook
from stt_mm.engine.hooks import checkpoint_hook
from stt_mm.utils.checkpoint import latest_checkpoint

HOOK = 'default_hooks.checkpoint'
BEST = {f'{HOOK}.save_best': 'score', f'{HOOK}.rule': 'greater', f'{HOOK}.max_keep_ckpts': -1, 'model.norm': True}


class Killed(BaseException):
    """Nothing catches it, and nothing more is written."""


def kill_in(monkeypatch, number, after_the_score=False):
    """The validation of that number, counted from 1, is the last thing that happens."""
    kind, name = (CheckpointHook, '_save_best_checkpoint') if after_the_score else (ToyMetric, 'compute_metrics')
    method, calls = getattr(kind, name), []

    def count(*args, **kwargs):
        calls.append(1)
        result = method(*args, **kwargs)
        if len(calls) == number:
            raise Killed
        return result

    monkeypatch.setattr(kind, name, count)


def scores(runner):
    return runner.message_hub.get_scalar('val/score').data[0]


def best_files(runner):
    return sorted(path.name for path in Path(runner.work_dir).glob('best_*'))


@pytest.mark.parametrize(
    ('interval', 'number', 'after_the_score'),
    [(4, 1, False), (4, 2, True), (4, 3, False), (4, 3, True), (5, 2, False), (5, 3, True), (12, 1, False)],
)
def test_a_validation_that_was_killed_is_made_up(tmp_path, monkeypatch, interval, number, after_the_score):
    """Also the last one, and with another checkpoint interval; the best files are those of an uninterrupted run."""
    options = {**BEST, 'train_cfg.val_interval': interval}
    (tmp_path / 'b').mkdir()
    whole = train(tmp_path, **options)
    with monkeypatch.context() as patch:
        kill_in(patch, number, after_the_score)
        with pytest.raises(Killed):
            train(tmp_path / 'b', **options)
    resumed = train(tmp_path / 'b', resume=latest_checkpoint(tmp_path / 'b' / 'work'), **options)
    assert len(scores(whole)) == {4: 3, 5: 3, 12: 1}[interval]
    assert np.array_equal(scores(whole), scores(resumed))
    assert len(best_files(whole)) == 1
    assert best_files(whole) == best_files(resumed)
    for name in (*best_files(whole), 'iter_12.pth'):
        assert_same_checkpoints(Path(whole.work_dir, name), Path(resumed.work_dir, name))


def test_a_validation_that_a_stop_left_out_comes_first(tmp_path, monkeypatch):
    """The signal comes in iteration 4, after which a validation is due."""
    options = {**BEST, 'train_cfg.val_interval': 4}
    (tmp_path / 'b').mkdir()
    whole = train(tmp_path, **options)
    calls, loss = [], ToyModel.forward

    def forward(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ToyModel, 'forward', forward)
        with pytest.raises(SystemExit):
            train(tmp_path / 'b', **options)
    resumed = train(tmp_path / 'b', resume=latest_checkpoint(tmp_path / 'b' / 'work'), **options)
    assert np.array_equal(scores(whole), scores(resumed))
    assert_same_checkpoints(Path(whole.work_dir, 'iter_12.pth'), Path(resumed.work_dir, 'iter_12.pth'))


@pytest.mark.parametrize('step', [4, 8])
def test_a_file_that_was_written_again_with_its_score_resumes_bit_by_bit(tmp_path, step):
    options = {**BEST, 'train_cfg.val_interval': 4}
    whole = train(tmp_path, **options)
    folder = tmp_path / 'b'
    folder.mkdir()
    resumed = train(folder, resume=Path(whole.work_dir, f'iter_{step}.pth'), **options)
    assert len(scores(resumed)) == 3
    assert_same_checkpoints(Path(whole.work_dir, 'iter_12.pth'), Path(resumed.work_dir, 'iter_12.pth'))


def test_best_files_that_the_history_does_not_know_are_named(tmp_path):
    """They stay: somebody may want them."""
    options = {**BEST, 'train_cfg.val_interval': 4}
    whole = train(tmp_path, **options)
    folder = Path(whole.work_dir)
    for path in folder.glob('best_*.pth'):
        path.rename(folder / 'best_score_iter_11.pth')
    for name in ('best_model.pth', 'best_score_iter_11 (copy).pth'):
        (folder / name).touch()
    resumed = train(tmp_path, resume=folder / 'iter_8.pth', **options)
    log = Path(resumed.log_dir, f'{resumed.timestamp}.log').read_text()
    assert 'best_score_iter_11.pth is of a later iteration than that where the training goes on' in log
    assert re.search(r'best_score_iter_[48]\.pth is the best so far by the history, but not there', log)
    assert (folder / 'best_score_iter_11.pth').exists()


def test_what_has_been_scored_is_not_scored_again(tmp_path, monkeypatch):
    """A finished run that is resumed does nothing."""
    whole = train(tmp_path, **BEST)
    before = Path(whole.work_dir, 'iter_12.pth').read_bytes()
    monkeypatch.setattr(ToyMetric, 'process', None)
    resumed = train(tmp_path, resume=Path(whole.work_dir, 'iter_12.pth'), **BEST)
    assert np.array_equal(scores(whole), scores(resumed))
    assert Path(whole.work_dir, 'iter_12.pth').read_bytes() == before


class ValidatedAfter(Hook):
    """Remembers the iterations after which a validation began."""

    def __init__(self):
        self.steps = []

    def before_val(self, runner):
        self.steps.append(runner.iter)


@pytest.mark.parametrize(
    ('options', 'resume', 'expected'),
    [
        ({}, None, [5, 10, 12]),
        ({'val_interval': 20}, 8, [12]),
        ({'val_interval': 20, 'max_iters': 8}, 8, [8]),
    ],
)
def test_validations_are_due_at_multiples_of_the_interval_and_at_the_end(tmp_path, options, resume, expected):
    steps = []
    HOOKS.register_module(name='ValidatedAfter', module=lambda: hook, force=True)
    hook = ValidatedAfter()
    start = None
    if resume:
        (tmp_path / 'a').mkdir()
        start = Path(
            train(tmp_path / 'a', val_cfg=None, val_dataloader=None, val_evaluator=None).work_dir, f'iter_{resume}.pth'
        )
    train(
        tmp_path,
        resume=start,
        custom_hooks=[dict(type='mmengine.ValidatedAfter')],
        **{f'train_cfg.{key}': value for key, value in options.items()},
    )
    assert steps + hook.steps == expected


def test_the_best_file_is_written_before_the_old_one_goes(tmp_path, monkeypatch):
    """When the disk is full for the second one, the first is still there."""
    write, names = checkpoint_hook.write_atomically, []
    monkeypatch.setattr(ToyMetric, 'compute_metrics', lambda self, results: dict(score=float(len(names))))

    def full(data, path):
        names.append(Path(path).name)
        if sum(name.startswith('best_') for name in names) == 2:
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(data, path)

    monkeypatch.setattr(checkpoint_hook, 'write_atomically', full)
    with pytest.raises(OSError, match='No space left'):
        train(tmp_path, **BEST)
    assert [path.name for path in tmp_path.glob('work/best_*')] == ['best_score_iter_5.pth']


@pytest.mark.parametrize(
    ('metric', 'values', 'best'),
    [
        ('J&F-Mean', [0.1, 0.3, 0.2], 10),
        ('davis/J&F-Mean', [0.4, 0.3, 0.2], 5),
        ('PCK@0.1', [0.1, 0.2, 0.3], 12),
        ('loss_x', [0.3, 0.1, 0.2], 10),
    ],
)
def test_the_direction_of_known_metrics_needs_no_rule(tmp_path, monkeypatch, metric, values, best):
    values = iter(values)
    monkeypatch.setattr(ToyMetric, 'compute_metrics', lambda self, results: {metric: next(values)})
    runner = train(tmp_path, **{f'{HOOK}.save_best': metric})
    assert best_files(runner) == [f'best_{metric.replace("/", "_")}_iter_{best}.pth']


def test_several_best_files_and_the_first_metric(tmp_path, monkeypatch):
    values = iter([dict(PCK=0.1, loss=1.0), dict(PCK=0.0, loss=0.5), dict(PCK=0.2, loss=0.7)])
    monkeypatch.setattr(ToyMetric, 'compute_metrics', lambda self, results: next(values))
    assert best_files(train(tmp_path, **{f'{HOOK}.save_best': ['PCK', 'loss']})) == [
        'best_PCK_iter_12.pth',
        'best_loss_iter_10.pth',
    ]
    values = iter([dict(PCK=0.1), dict(PCK=0.3), dict(PCK=0.2)])
    assert best_files(train(tmp_path / 'work', **{f'{HOOK}.save_best': 'auto'})) == ['best_PCK_iter_10.pth']


def test_a_metric_that_the_validation_does_not_have_is_named(tmp_path):
    with pytest.raises(ValueError, match='save_best=J&F is no metric of the validation, which gives score'):
        train(tmp_path, **{f'{HOOK}.save_best': 'J&F'})


def test_the_best_file_of_a_folder_that_was_moved_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyMetric, 'compute_metrics', lambda self, results: dict(score=float(self.step())))
    steps = iter(range(9))
    monkeypatch.setattr(ToyMetric, 'step', lambda self: next(steps), raising=False)
    train(tmp_path, **BEST, **{'train_cfg.max_iters': 5})
    (tmp_path / 'b').mkdir()
    shutil.move(tmp_path / 'work', tmp_path / 'b' / 'work')
    runner = train(tmp_path / 'b', resume=tmp_path / 'b' / 'work' / 'iter_5.pth', **BEST)
    assert best_files(runner) == ['best_score_iter_12.pth']


def test_epochs_are_refused(tmp_path):
    with pytest.raises(ValueError, match='by_epoch must be False'):
        train(tmp_path, **{f'{HOOK}.by_epoch': True})


def test_files_left_by_a_killed_write_go_at_the_next_start(tmp_path):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    for name in ('.iter_4.pth.0k2nuocz.tmp', '.best_score_iter_4.pth.abcd_efg.tmp', '.last_checkpoint.abcdefgh.tmp'):
        (work_dir / name).write_bytes(b'half')
    (work_dir / '.mine.tmp').touch()
    train(tmp_path, **{'train_cfg.max_iters': 1})
    assert [path.name for path in work_dir.glob('.*')] == ['.mine.tmp']


def test_the_buffers_stay_those_of_training_in_one_process(tmp_path):
    """BatchNorm moves on after each validation: the network is in training mode again."""
    first = train(tmp_path, **BEST, **{'train_cfg.val_interval': 2})
    (tmp_path / 'b').mkdir()
    second = train(tmp_path / 'b', **BEST, **{'train_cfg.val_interval': 12})
    assert int(first.model.backbone[1].num_batches_tracked) == 12
    assert torch.equal(first.model.backbone[1].running_mean, second.model.backbone[1].running_mean)


def test_files_to_go_on_from_hold_everything_and_the_best_one_the_weights(tmp_path):
    work_dir = Path(train(tmp_path, **BEST, **{'train_cfg.max_iters': 5}).work_dir)
    weights = {'meta', 'message_hub', 'state_dict', 'random_states'}
    every = weights | {'optimizer', 'param_schedulers'}
    assert torch.load(work_dir / 'iter_5.pth', weights_only=True).keys() == every
    best = torch.load(work_dir / 'best_score_iter_5.pth', weights_only=True)
    assert best.keys() == weights
    assert best['meta']['iter'] == 5
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'iter_5.pth')
