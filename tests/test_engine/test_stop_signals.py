"""Signals to a training in this process; test_resume.py sends them to others."""

import os
import signal
from pathlib import Path

import pytest
import torch
from test_engine.toy_project import ToyMetric, ToyModel
from test_engine.toy_runs import assert_same_checkpoints, train

EVERY = {'default_hooks.checkpoint.interval': 1, 'default_hooks.checkpoint.max_keep_ckpts': -1}
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def _handlers():
    """Handlers of a program in a terminal, where nohup or a shell's & ignore some; afterwards those that were there."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signal_in(monkeypatch, kind, name, number, count=3):
    """Send this process a signal in the call of that count; returns the handlers of SIGINT seen after it."""
    method, calls, seen = getattr(kind, name), [], []

    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), number)
            seen.append(signal.getsignal(signal.SIGINT))
        return method(*args, **kwargs)

    monkeypatch.setattr(kind, name, call)
    return seen


def log(folder):
    return next(folder.glob('work/*/*.log')).read_text()


@pytest.mark.parametrize(
    ('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
def test_a_signal_saves_what_an_uninterrupted_run_has_at_that_iteration(tmp_path, monkeypatch, number, code):
    monkeypatch.setenv('SLURM_JOB_ID', '1')
    (tmp_path / 'b').mkdir()
    whole = train(tmp_path, **EVERY)
    with monkeypatch.context() as patch:
        signal_in(patch, ToyModel, 'forward', number)
        with pytest.raises(SystemExit) as stop:
            train(tmp_path / 'b')
    assert stop.value.code == code
    saved = tmp_path / 'b' / 'work' / 'iter_3.pth'
    said = f'{signal.Signals(number).name}: stopped after iteration 3 and saved {saved}. Continue with --resume'
    assert said in log(tmp_path / 'b')
    assert_same_checkpoints(Path(whole.work_dir, 'iter_3.pth'), saved)
    resumed = train(tmp_path / 'b', resume=saved)
    assert_same_checkpoints(Path(whole.work_dir, 'iter_12.pth'), Path(resumed.work_dir, 'iter_12.pth'))


def test_in_a_validation_too(tmp_path, monkeypatch):
    signal_in(monkeypatch, ToyMetric, 'process', signal.SIGINT, count=1)
    with pytest.raises(SystemExit) as stop:
        train(tmp_path)
    assert stop.value.code == 130
    assert f'iteration 5 and saved {tmp_path}/work/iter_5.pth; that validation is not finished. Cont' in log(tmp_path)
    assert torch.load(tmp_path / 'work' / 'iter_5.pth', weights_only=True)['meta']['iter'] == 5


def test_a_file_that_must_not_be_written_is_not_said_to_be(tmp_path, monkeypatch):
    forward, calls = ToyModel.forward, []

    def call(*args, **kwargs):
        calls.append(1)
        out = forward(*args, **kwargs)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            out = dict(loss=out['loss'] + float('inf'))
        return out

    monkeypatch.setattr(ToyModel, 'forward', call)
    with pytest.raises(SystemExit):
        train(tmp_path, **EVERY)
    assert 'SIGTERM: stopped after iteration 3 and saved nothing. Continue' in log(tmp_path)
    assert sorted(path.name for path in tmp_path.glob('work/*.pth')) == ['iter_1.pth', 'iter_2.pth']


def test_a_second_interrupt_ends_the_process_at_once(tmp_path, monkeypatch):
    """Its handler is the system's own."""
    seen = signal_in(monkeypatch, ToyModel, 'forward', signal.SIGINT)
    with pytest.raises(SystemExit):
        train(tmp_path)
    assert seen == [signal.SIG_DFL]


def test_a_signal_that_is_ignored_stays_so(tmp_path, monkeypatch):
    """Under nohup a training outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal_in(monkeypatch, ToyModel, 'forward', signal.SIGHUP)
    assert train(tmp_path).iter == 12
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize('ending', ['end', 'stop', 'error', 'error in a validation'])
def test_the_previous_handlers_are_put_back_however_training_ends(tmp_path, monkeypatch, ending):
    def handler(number, frame):
        raise RuntimeError('not reached')

    def fail(*args, **kwargs):
        raise RuntimeError('of the model')

    for number in NUMBERS[:3]:
        signal.signal(number, handler)
    if ending == 'stop':
        signal_in(monkeypatch, ToyModel, 'forward', signal.SIGTERM)
    elif ending.startswith('error'):
        monkeypatch.setattr(*(ToyMetric, 'process') if 'val' in ending else (ToyModel, 'forward'), fail)
    if ending == 'end':
        train(tmp_path)
    else:
        with pytest.raises((SystemExit, RuntimeError)):
            train(tmp_path)
    assert all(signal.getsignal(number) is handler for number in NUMBERS[:3])
