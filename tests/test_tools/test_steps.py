"""What the tools that start other tools share: a progress bar, and steps that show theirs."""

import os
import signal
import subprocess
import sys

import pytest
from mmengine.config import Config

from stt_mm.engine import steps
from stt_mm.engine.cli import Progress, tracked
from stt_mm.engine.steps import StepFailed, keep_config, reserved, run_step


def run(script, log):
    run_step(['-c', script], log.parent, log, 'a step')


def test_a_bar_outside_of_a_terminal_is_the_line_of_its_end(capsys):
    bar = Progress(4, 'videos [a]', done=1)
    for _ in range(3):
        bar.update()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('videos [a] ')
    assert ' 4/4 ' in line


def test_the_bar_of_a_loop(capsys):
    assert list(tracked('abc')) == list('abc')
    assert ' 3/3 ' in capsys.readouterr().err
    assert list(tracked([])) == []
    assert capsys.readouterr().err == ''


def test_a_bar_that_does_not_end_is_ended_once(capsys):
    Progress(None).reach(2, 5, 'loss [1]')
    Progress.end_line()
    (line,) = capsys.readouterr().err.splitlines()
    assert ' 2/5 ' in line
    assert line.rstrip().endswith('loss [1]')
    Progress.end_line()
    assert capsys.readouterr().err == ''


def test_a_step_writes_its_log_and_moves_the_bar(tmp_path, monkeypatch):
    moved = []
    log = tmp_path / 'new' / 'deep' / 'a.log'

    def reach(self, *values):
        moved.append(values)
        # The log can be followed.
        assert f'[{values[0]:>2}/9]' in log.read_text().splitlines()[-1]

    monkeypatch.setattr(Progress, 'reach', reach)
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    lock = os.open(tmp_path / 'lock', os.O_CREAT)
    script = (
        'import os; print(os.environ["OMP_WAIT_POLICY"], os.environ["PYTHONUNBUFFERED"], os.getcwd());'
        f'print("Iter(train) [ 4/9]  loss: 1.5e+00  lr: 1"); print("Iter(test) [ 5/9]"); os.fstat({lock})'
    )
    arguments = (['-c', script], tmp_path, log, 'a step', [lock])
    run_step(*arguments)
    assert moved == [(4, 9, 'loss 1.500'), (5, 9, '')]
    first = log.read_text()
    assert first.splitlines()[0] == f'PASSIVE 1 {tmp_path}'
    monkeypatch.setenv('OMP_WAIT_POLICY', 'ACTIVE')
    run_step(*arguments)
    assert log.read_text() == first + first.replace('PASSIVE', 'ACTIVE')
    os.close(lock)


@pytest.mark.parametrize(
    ('script', 'reason'),
    [
        ('import sys; print("much"); sys.exit("error: the reason.")', 'error: the reason'),
        (r'import os, sys; os.write(1, b"caf\xe9\n\n"); sys.exit(3)', 'caf\ufffd'),
        (
            'import os; print("started", flush=True); os.kill(os.getpid(), 9)',
            'it was killed, probably for lack of memory',
        ),
    ],
)
def test_a_step_that_fails_names_its_last_line_and_its_log(tmp_path, script, reason):
    log = tmp_path / 'a.log'
    with pytest.raises(StepFailed) as error:
        run(script, log)
    assert str(error.value) == f'a step failed: {reason}. The whole output: {log}'
    assert reason in log.read_text(encoding='utf-8') or 'started' in log.read_text()


def test_a_step_ends_with_what_has_started_it(tmp_path, monkeypatch):
    """Whatever ends it; here Ctrl-C while the first step is shown."""
    children, popen = [], subprocess.Popen
    monkeypatch.setattr(
        steps.subprocess, 'Popen', lambda *args, **options: children.append(popen(*args, **options)) or children[-1]
    )

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, 'reach', interrupted)
    script = 'import time; print("Iter(train) [1/2]", flush=True); time.sleep(60)'
    with pytest.raises(KeyboardInterrupt):
        run(script, tmp_path / 'a.log')
    assert children[0].poll() == -signal.SIGTERM


def test_a_step_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, '_SECONDS_TO_STOP', 0.01)
    monkeypatch.setattr(Progress, 'reach', lambda *_: sys.exit('enough'))
    script = (
        'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);'
        'print("Iter(train) [1/2]", flush=True); time.sleep(60)'
    )
    children, popen = [], subprocess.Popen
    monkeypatch.setattr(
        steps.subprocess, 'Popen', lambda *args, **options: children.append(popen(*args, **options)) or children[-1]
    )
    with pytest.raises(SystemExit, match='enough'):
        run(script, tmp_path / 'a.log')
    assert children[0].wait(20) == -signal.SIGKILL


def test_a_work_directory_is_not_shared(tmp_path):
    with reserved(tmp_path / 'work', '.mark') as lock:
        os.fstat(lock)
        with pytest.raises(ValueError, match='in use'), reserved(tmp_path / 'work', '.mark'):
            pass
    with reserved(tmp_path / 'work', '.mark'):
        pass
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').touch()
    with pytest.raises(ValueError, match='not made by this tool'), reserved(tmp_path / 'mine', '.mark'):
        pass


def test_a_config_is_written_once(tmp_path):
    path = tmp_path / 'new' / 'a.py'
    cfg = Config(dict(a=(1, 2), b=[dict(c='x')]))
    assert keep_config(cfg, path) == str(path)
    assert Config.fromfile(path).to_dict() == cfg.to_dict()
    keep_config(cfg, path)
    with pytest.raises(ValueError, match=r'a\.py was written for other settings'):
        keep_config(Config(dict(a=(1, 3))), path)
