import multiprocessing
import os
import random
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from test_engine.toy_project import ToyMetric, write_config
from test_engine.toy_runs import (
    assert_same_training,
    assert_same_weights,
    start,
    start_tool,
    tool,
    train,
    wait_for,
    weights,
)
from torch import nn
from torch.utils.data import DataLoader, Dataset

from stt_mm.engine import enable_amp, from_plain
from stt_mm.engine.hooks.checkpoint_hook import changed_settings, check_fits, files_read, settings
from stt_mm.engine.loops import _obey
from stt_mm.utils.checkpoint import CheckpointError, latest_checkpoint


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """An uninterrupted run of 12 iterations."""
    return train(tmp_path_factory.mktemp('straight'))


def test_every_written_file_is_plain(straight):
    files = sorted(Path(straight.work_dir).glob('*.pth'))
    assert [file.name for file in files] == ['iter_12.pth', 'iter_8.pth']
    for file in files:
        checkpoint = torch.load(file, weights_only=True)
        assert checkpoint.keys() >= {'optimizer', 'param_schedulers', 'message_hub', 'random_states', 'meta'}
    assert (Path(straight.work_dir) / 'last_checkpoint').read_text() == str(Path(straight.work_dir) / 'iter_12.pth')
    assert not list(Path(straight.work_dir).glob('.*tmp'))


def test_resume_continues_weights_and_history(straight, tmp_path):
    resumed = train(tmp_path, resume=Path(straight.work_dir) / 'iter_8.pth')
    assert_same_weights(
        weights(Path(straight.work_dir) / 'iter_12.pth'), weights(Path(resumed.work_dir) / 'iter_12.pth')
    )
    for key in ('train/loss', 'train/lr'):
        expected, got = (runner.message_hub.get_scalar(key).data[0] for runner in (straight, resumed))
        assert len(got) == 12
        assert np.array_equal(expected, got)


@pytest.mark.parametrize('amp', [False, True])
def test_resume_on_each_device(amp, device, assert_near, tmp_path):
    """The random numbers of the device too, which the toy model draws its noise from."""
    cfg = Config.fromfile(write_config(tmp_path))
    if amp:
        enable_amp(cfg)
    wrapper, runs = dict(optim_wrapper=cfg.optim_wrapper.to_dict()), []
    for name in ('straight', 'resumed'):
        folder = tmp_path / name
        folder.mkdir()
        runs.append(train(folder, resume=tmp_path / 'straight/work/iter_8.pth' if runs else None, **wrapper))
    expected, found = (runner.model.state_dict() for runner in runs)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert found[name].device.type == device
        assert_near(found[name], value)


def test_without_the_random_state_the_weights_differ(straight, tmp_path):
    """The toy model does depend on the global generator, so the equality above means something."""
    checkpoint = torch.load(Path(straight.work_dir) / 'iter_8.pth', weights_only=True)
    del checkpoint['random_states']
    torch.save(checkpoint, tmp_path / 'start.pth')
    resumed = train(tmp_path, resume=tmp_path / 'start.pth')
    expected, got = (weights(Path(runner.work_dir) / 'iter_12.pth') for runner in (straight, resumed))
    assert not torch.equal(expected['backbone.0.weight'], got['backbone.0.weight'])


def test_validation_interval_does_not_change_the_weights(straight, tmp_path):
    other = train(tmp_path, **{'train_cfg.val_interval': 2})
    assert_same_weights(straight.model.state_dict(), other.model.state_dict())


@pytest.mark.parametrize('workers', [0, 1])
def test_resume_loads_no_skipped_sample_and_starts_workers_once(straight, tmp_path, workers):
    trace = tmp_path / 'trace.txt'
    train(
        tmp_path,
        resume=Path(straight.work_dir) / 'iter_8.pth',
        **{'train_dataloader.dataset.trace': str(trace), 'train_dataloader.num_workers': workers},
    )
    lines = [line.split() for line in trace.read_text().splitlines()]
    assert len({pid for pid, *_ in lines}) == 1
    draws = [int(draw) for _, _, draw in lines]
    assert draws[:16] == list(range(32, 48))  # workers may load ahead
    assert len(draws) == 16 or workers
    log = next(Path(tmp_path, 'work').glob('*/*.log')).read_text()
    assert 'Data continues after 8 batches of 4.' in log


def test_sampler_without_advance_still_resumes_at_the_right_sample(straight, tmp_path):
    loader = {'train_dataloader.sampler.type': 'InfiniteSampler'}
    whole = train(tmp_path, **loader, **{'default_hooks.checkpoint.max_keep_ckpts': -1})
    (tmp_path / 'b').mkdir()
    resumed = train(tmp_path / 'b', resume=Path(whole.work_dir) / 'iter_4.pth', **loader)
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())
    log = Path(resumed.log_dir, f'{resumed.timestamp}.log').read_text()
    assert 'InfiniteSampler cannot advance: loading 4 batches to skip them.' in log


def test_best_and_older_files(tmp_path):
    hook = 'default_hooks.checkpoint'
    runner = train(tmp_path, **{f'{hook}.save_best': 'score', f'{hook}.rule': 'greater', f'{hook}.max_keep_ckpts': 1})
    names = {file.name for file in Path(runner.work_dir).glob('*.pth')}
    best = [name for name in names if name.startswith('best_score_iter_')]
    assert names == {'iter_12.pth', *best}
    assert len(best) == 1
    checkpoint = torch.load(Path(runner.work_dir) / best[0], weights_only=True)
    assert 'optimizer' not in checkpoint
    assert from_plain(checkpoint['message_hub'])['runtime_info']['best_ckpt'].endswith(best[0])


@pytest.mark.parametrize(
    ('keep', 'expected'),
    [(1, [5]), (2, [4, 5]), (3, [3, 4, 5]), (5, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5]), (-1, [1, 2, 3, 4, 5])],
)
def test_the_newest_files_are_kept_and_the_older_ones_removed_one_by_one(keep, expected, tmp_path):
    hook = 'default_hooks.checkpoint'
    settings = {
        f'{hook}.interval': 1,
        f'{hook}.max_keep_ckpts': keep,
        'val_dataloader': None,
        'val_cfg': None,
        'val_evaluator': None,
        'train_cfg.max_iters': 5,
    }
    runner = train(tmp_path, **settings)
    names = [f'iter_{step}.pth' for step in expected]
    assert sorted(file.name for file in Path(runner.work_dir).glob('*.pth')) == names
    # A resumed run goes on with the list of the file.
    resumed = train(tmp_path, resume=Path(runner.work_dir, 'iter_5.pth'), **settings | {'train_cfg.max_iters': 6})
    names = [f'iter_{step}.pth' for step in [*expected, 6]][-keep if keep > 0 else 0 :]
    assert sorted(file.name for file in Path(resumed.work_dir).glob('*.pth')) == names


def test_loading_weights_is_no_resume(straight, tmp_path):
    """``load_from`` alone starts at iteration 0 with the random state of the seed."""
    cfg = dict(load_from=str(Path(straight.work_dir) / 'iter_8.pth'), **{'train_cfg.max_iters': 1})
    first = train(tmp_path, **cfg)
    state = torch.get_rng_state()
    (tmp_path / 'b').mkdir()
    second = train(tmp_path / 'b', **cfg)
    assert first.iter == second.iter == 1
    assert torch.equal(state, torch.get_rng_state())


def test_newest_truncated_checkpoint_is_passed_over(straight, tmp_path, caplog):
    for name in ('iter_8.pth', 'iter_12.pth'):
        (tmp_path / name).write_bytes((Path(straight.work_dir) / name).read_bytes())
    broken = tmp_path / 'iter_12.pth'
    broken.write_bytes(broken.read_bytes()[:-500])
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_8.pth'
    assert 'iter_12.pth' in caplog.text
    assert latest_checkpoint(tmp_path / 'nowhere') is None


def test_a_folder_of_unreadable_checkpoints_is_no_reason_to_start_over(straight, tmp_path, monkeypatch):
    for name in ('iter_8.pth', 'iter_12.pth'):
        (tmp_path / name).write_bytes((Path(straight.work_dir) / name).read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=rf'none of the 2 checkpoints in {tmp_path} .iter_12.pth, iter_8.pth.'):
        latest_checkpoint(tmp_path)
    cfg = Config(dict(work_dir=str(tmp_path)))
    with pytest.raises(CheckpointError, match='remove them or name another --work-dir'):
        tool('train').choose_start(cfg, 'auto', trust=False)


def copied(path, folder, **changes):
    """A checkpoint with some content replaced; ``None`` removes it."""
    checkpoint = torch.load(path, weights_only=True)
    checkpoint.update(changes)
    folder.mkdir(exist_ok=True)
    torch.save({key: value for key, value in checkpoint.items() if value is not None}, folder / path.name)
    return folder / path.name


@pytest.mark.parametrize('resume', ['option', 'config'])
def test_weights_alone_are_no_file_to_resume_from(straight, tmp_path, resume):
    """A best file, which has no optimizer; the right one stands beside it."""
    right = copied(Path(straight.work_dir, 'iter_8.pth'), tmp_path)
    copied(Path(straight.work_dir, 'iter_12.pth'), tmp_path)
    best = copied(right, tmp_path / 'b', optimizer=None, param_schedulers=None).rename(tmp_path / 'best_PCK_iter_8.pth')
    cfg = Config(dict(work_dir=str(tmp_path), param_scheduler=dict(type='x'), load_from=str(best)))
    cfg.resume = resume == 'config'
    with pytest.raises(CheckpointError, match=f'no optimizer, param_schedulers. Name {right} instead'):
        tool('train').choose_start(cfg, str(best) if resume == 'option' else None, trust=False)


def test_a_file_to_resume_from_has_finite_weights(straight, tmp_path):
    weights = torch.load(Path(straight.work_dir, 'iter_8.pth'), weights_only=True)['state_dict']
    next(iter(weights.values())).view(-1)[0] = torch.nan
    start = copied(Path(straight.work_dir, 'iter_8.pth'), tmp_path, state_dict=weights)
    with pytest.raises(CheckpointError, match=rf'{start}: .* infinite or not a number\. Go on from an earlier'):
        tool('train').choose_start(Config(dict(work_dir=str(tmp_path))), str(start), trust=False)


def test_a_file_that_was_renamed_is_refused(straight, tmp_path):
    start = copied(Path(straight.work_dir, 'iter_8.pth'), tmp_path).rename(tmp_path / 'iter_9.pth')
    with pytest.raises(CheckpointError, match=rf'{start} is of iteration 8, not of that in its name'):
        tool('train').choose_start(Config(dict(work_dir=str(tmp_path))), str(start), trust=False)
    other = start.rename(tmp_path / 'mine.pth')
    tool('train').choose_start(Config(dict(work_dir=str(tmp_path))), str(other), trust=False)


def test_a_training_that_is_done_is_told(straight, tmp_path, caplog):
    start = copied(Path(straight.work_dir, 'iter_8.pth'), tmp_path)
    with caplog.at_level('INFO', 'stt_mm.train'):
        for length in (9, 8, 4):
            cfg = Config(dict(work_dir=str(tmp_path), train_cfg=dict(max_iters=length)))
            tool('train').choose_start(cfg, str(start), trust=False)
    assert [record.message.rsplit(': ')[-1] for record in caplog.records] == [
        'nothing is left of the 8 of the config.',
        'nothing is left of the 4 of the config.',
    ]


def test_a_file_without_random_states_is_told(straight, tmp_path):
    start = copied(Path(straight.work_dir, 'iter_8.pth'), tmp_path / 'a', random_states=None)
    runner = train(tmp_path, resume=start)
    assert 'has no random states: results will differ' in Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


def test_a_config_that_says_resume_means_auto(straight, tmp_path):
    cfg = Config(dict(work_dir=straight.work_dir, resume=True))
    tool('train').choose_start(cfg, None, trust=False)
    assert cfg.load_from == str(Path(straight.work_dir, 'iter_12.pth'))
    cfg = Config(dict(work_dir=str(tmp_path), resume=True))
    tool('train').choose_start(cfg, None, trust=False)
    assert not cfg.resume
    assert cfg.load_from is None


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'model.norm': True}, 'backbone.1.weight is missing in the file and \\(4,\\) in the model'),
        ({'optim_wrapper.paramwise_cfg': dict(custom_keys={'backbone.0': dict(lr_mult=2)})}, 'parameter groups of'),
    ],
)
def test_a_file_of_another_model_is_refused_by_its_name(straight, tmp_path, change, message):
    start = Path(straight.work_dir, 'iter_8.pth')
    with pytest.raises(CheckpointError, match=f'{start} is from a training of another model: .*{message}'):
        train(tmp_path, resume=start, **change)


def test_a_file_of_another_geometry_is_refused_with_both():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    runner = SimpleNamespace(model=model, optim_wrapper=optimizer, cfg=Config(dict(load_from='iter_8.pth')))
    checkpoint = dict(state_dict=model.state_dict(), optimizer=optimizer.state_dict(), meta=dict(iter=8))
    model.geometry = dict(depth=18, strides=(1, 2, 1))
    check_fits(runner, checkpoint)  # a file that says nothing
    checkpoint['meta']['geometry'] = dict(depth=18, strides=[1, 2, 1])
    check_fits(runner, checkpoint)
    checkpoint['meta']['geometry'] = dict(depth=18, strides=(1, 2, 2))
    with pytest.raises(CheckpointError, match='iter_8.pth .* strides 1 2 2 in the file and .* strides 1 2 1 in'):
        check_fits(runner, checkpoint)


def test_other_settings_than_before_are_said(straight, tmp_path):
    """The rate of the file is kept, a new batch size is not."""
    start, said = Path(straight.work_dir, 'iter_8.pth'), 'The training goes on with other settings than before'
    (tmp_path / 'same').mkdir()
    same = train(tmp_path / 'same', resume=start)
    assert said not in Path(same.log_dir, f'{same.timestamp}.log').read_text()
    changes = {
        'train_dataloader.batch_size': 2,
        'optim_wrapper.optimizer.lr': 7.0,
        'optim_wrapper.clip_grad': None,
        'train_cfg._delete_': True,
        'train_cfg.type': 'IterLoop',
        'train_cfg.max_iters': 12,
    }
    other = train(tmp_path, resume=start, **changes)
    log = Path(other.log_dir, f'{other.timestamp}.log').read_text()
    line = next(line for line in log.splitlines() if said in line)
    assert line.endswith(
        ': train_dataloader.batch_size was 4 and is 2; train_cfg.val_interval was 5 and is not set; '
        'optim_wrapper.optimizer.lr was 0.01 and is 7.0; '
        'optim_wrapper.clip_grad was not set and is None.'
    )
    rates = [runner.message_hub.get_scalar('train/lr').data[0][-4:].tolist() for runner in (straight, other)]
    assert rates[0] == rates[1]
    assert 'Data continues after 8 batches of 2.' in log


def test_a_file_of_the_model_that_has_another_content_is_said(tmp_path):
    teacher = tmp_path / 'teacher.pth'
    torch.save({'weight': torch.zeros(2)}, teacher)
    cfg = Config(dict(model=dict(teacher=dict(init_cfg=dict(checkpoint=str(teacher))), backbone=dict(depth=18))))
    checkpoint = dict(meta=dict(settings=settings(cfg), files=files_read(cfg)))
    assert changed_settings(cfg, checkpoint) == ''
    old = files_read(cfg)['model.teacher.init_cfg.checkpoint']
    torch.save({'weight': torch.ones(2)}, teacher)
    said = changed_settings(cfg, checkpoint)
    assert re.fullmatch(
        rf'the file of model\.teacher\.init_cfg\.checkpoint had the SHA-256 {old}\.\.\. and has \w{{8}}\.\.\.', said
    )
    del checkpoint['meta']['files']  # a file of an earlier version
    assert changed_settings(cfg, checkpoint) == ''


def test_digests_of_files_are_written(straight):
    assert torch.load(Path(straight.work_dir, 'iter_8.pth'), weights_only=True)['meta']['files'] == {}


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        (
            {'encoder.conv1.weight': torch.ones(3)},
            r'fills none of the \d+ weights .* first names are encoder\.conv1\.w',
        ),
        ({}, r'fills none of the \d+ weights of the model\. Its first names are none'),
        ({'backbone.0.weight': torch.ones(1)}, 'fills none'),
        (None, r'weights\.pth: .* holds 1 of \d+ values that are infinite or not a number\. Start from another file'),
    ],
)
def test_weights_that_fill_nothing_or_are_not_finite_are_no_start(straight, tmp_path, weights, message):
    if weights is None:
        weights = torch.load(Path(straight.work_dir, 'iter_8.pth'), weights_only=True)['state_dict']
        next(iter(weights.values())).view(-1)[0] = torch.nan
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match=message):
        train(tmp_path, load_from=str(tmp_path / 'weights.pth'))


def test_weights_that_fill_a_part_are_counted(straight, tmp_path):
    weights = torch.load(Path(straight.work_dir, 'iter_8.pth'), weights_only=True)['state_dict']
    name = next(iter(weights))
    torch.save({f'module.{name}': weights[name]}, tmp_path / 'part.pth')
    runner = train(tmp_path, load_from=str(tmp_path / 'part.pth'), **{'train_cfg.max_iters': 1})
    log = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
    assert f'part.pth fills 1 of the {len(weights)} weights of the model.' in log


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(straight, tmp_path, number):
    """Stopped at a random moment between two checkpoints by a signal to the process group, data worker included."""
    config = write_config(tmp_path, "model['seconds'] = 0.1\ntrain_dataloader['num_workers'] = 1\n")
    work_dir = tmp_path / 'work'
    process = start_tool(config, work_dir)
    wait_for(work_dir / 'iter_4.pth', process)
    time.sleep(random.uniform(0, 0.35))
    os.killpg(process.pid, number)
    output = process.communicate(timeout=60)[0]
    if number == signal.SIGTERM:
        assert process.returncode == 143
        stopped = latest_checkpoint(work_dir)
        assert f'saved {stopped}' in output
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (work_dir / 'iter_12.pth').exists()
    resumed = start_tool(config, work_dir, '--resume', 'auto')
    output = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, output
    assert f'continuing from {work_dir}' in output
    assert_same_weights(weights(Path(straight.work_dir) / 'iter_12.pth'), weights(work_dir / 'iter_12.pth'))


def test_stop_signal_puts_the_previous_handler_back(tmp_path):
    def handler(number, frame):
        raise RuntimeError('not reached')

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        train(tmp_path, **{'train_cfg.max_iters': 1})
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, previous)


@pytest.mark.slow
def test_stop_signal_in_a_long_iteration(tmp_path):
    """The data worker, which is idle meanwhile, outlives the signal for as long as the iteration lasts."""
    trace = tmp_path / 'trace.txt'
    config = write_config(
        tmp_path,
        "model['seconds'] = 10.5\ntrain_dataloader['num_workers'] = 1\n"
        f"train_dataloader['dataset']['trace'] = '{trace}'\n",
    )
    process = start_tool(config, tmp_path / 'work')
    wait_for(trace, process)
    os.killpg(process.pid, signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143, output
    assert 'Traceback' not in output
    assert f'SIGTERM: stopped after iteration 1 and saved {tmp_path}/work/iter_1.pth.' in output
    assert latest_checkpoint(tmp_path / 'work').name == 'iter_1.pth'


@pytest.mark.slow
def test_stop_signal_in_a_long_validation(straight, tmp_path):
    """Twenty seconds of validation, with a data worker, end at once."""
    trace = tmp_path / 'trace.txt'
    config = write_config(
        tmp_path,
        "model['seconds'] = 0.1\ntrain_dataloader['num_workers'] = 1\n"
        "val_dataloader['num_workers'] = 1\nval_dataloader['dataset']['length'] = 200\n"
        f"val_dataloader['dataset']['trace'] = '{trace}'\n",
    )
    work_dir = tmp_path / 'work'
    process = start_tool(config, work_dir)
    wait_for(trace, process)
    os.killpg(process.pid, signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143, output
    assert 'Traceback' not in output
    assert (
        f'SIGTERM: stopped in the validation after iteration 5 and saved {work_dir}/iter_5.pth; that validation is '
        'not finished.'
    ) in output
    assert len(trace.read_text().splitlines()) < 50
    assert latest_checkpoint(work_dir).name == 'iter_5.pth'
    resumed = start_tool(config, work_dir, '--resume', 'auto', '--cfg-options', 'val_dataloader.dataset.length=2')
    output = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, output
    assert_same_weights(weights(Path(straight.work_dir) / 'iter_12.pth'), weights(work_dir / 'iter_12.pth'))


@pytest.mark.parametrize('interval', [4, 5, 12])
def test_validation_that_a_signal_ended_is_repeated(tmp_path, monkeypatch, interval):
    """After an iteration that was saved, one that was not, and the last one."""
    (tmp_path / 'b').mkdir()
    options = {'train_cfg.val_interval': interval}
    whole = train(
        tmp_path, **options, **{'default_hooks.checkpoint.interval': 1, 'default_hooks.checkpoint.max_keep_ckpts': -1}
    )
    process = ToyMetric.process

    def process_and_stop(*args, **kwargs):
        process(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ToyMetric, 'process', process_and_stop)
        with pytest.raises(SystemExit) as stop:
            train(tmp_path / 'b', **options)
    assert stop.value.code == 143
    stopped = latest_checkpoint(tmp_path / 'b' / 'work')
    assert stopped.name == f'iter_{interval}.pth'
    assert_same_training(Path(whole.work_dir) / stopped.name, stopped)
    resumed = train(tmp_path / 'b', resume=stopped, **options)
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())
    for key in ('train/loss', 'val/score'):
        expected, got = (runner.message_hub.get_scalar(key).data[0] for runner in (whole, resumed))
        assert np.array_equal(expected, got)


class TwoSamples(Dataset):
    """The second one takes a minute."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        time.sleep(60 * index)
        return index


def test_a_data_worker_ends_when_its_trainer_is_ending_and_for_nobody_else():
    ending = multiprocessing.RawValue('b', 0)
    loader = DataLoader(TwoSamples(), num_workers=1, worker_init_fn=partial(_obey, ending=ending, init_fn=None))
    batches = iter(loader)
    assert next(batches) == 0
    worker = batches._workers[0]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(worker.pid, number)
    worker.join(1)
    assert worker.is_alive()
    ending.value = 1
    worker.terminate()
    worker.join(5)
    assert worker.exitcode == 0


@pytest.mark.slow
def test_killed_and_interrupted_runs_equal_those_that_nobody_touched():
    """A small part of what tests/kill_runs.py does: one and two processes."""
    command = [sys.executable, Path(__file__).parents[1] / 'kill_runs.py', '--runs', 2, '--kills', 3, '--interrupts', 1]
    process = start(command)
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    assert '2 of 2 runs are equal' in output
