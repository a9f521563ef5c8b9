"""What tools/gpu_check.py makes of steps that end by themselves, in time or not."""

import os

import pytest
from test_engine.toy_runs import tool


@pytest.fixture
def check(tmp_path):
    module = tool('gpu_check')
    return module.Check(module.parse_args(['--device', 'cpu', '--work-dir', str(tmp_path)]))


@pytest.mark.parametrize(
    ('code', 'stop', 'passed'),
    [
        ('raise SystemExit(3)', True, False),
        ('raise SystemExit(3)', False, False),
        ('pass', True, True),
        ('import time; time.sleep(60)', True, True),
        ('import time; time.sleep(60)', False, False),
    ],
)
def test_only_a_step_that_was_stopped_may_end_with_an_error(check, code, stop, passed):
    assert check.run('step', ['-S', '-c', code], 1 if 'sleep' in code else 60, stop) is passed
    assert check.steps['step']['passed'] is passed


def test_what_an_earlier_check_has_trained_is_not_scored(check, tmp_path, monkeypatch):
    (tmp_path / 'training').mkdir()
    (tmp_path / 'training' / 'iter_90.pth').touch()
    steps = []

    def run(name, command, *rest, **options):
        steps.append((name, command[2]))
        check.steps[name] = dict(passed=True)
        for written in names if name == 'training' else ():
            (tmp_path / 'training' / written).touch()
            os.utime(tmp_path / 'training' / written, (9, 9))
        return name == 'training'

    monkeypatch.setattr(check, 'run', run)
    names = []
    check.training()
    assert [name for name, _ in steps] == ['training']
    assert check.steps['training'] == dict(passed=False)
    names = ['iter_8.pth', 'iter_10.pth']
    check.training()
    assert steps[-1] == ('score', str(tmp_path / 'training' / 'iter_10.pth'))
    assert check.steps['training']['iterations'] == 10


def test_a_machine_without_a_gpu_is_told(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(SystemExit, match='1'):
        tool('gpu_check').main(['--work-dir', str(tmp_path / 'w')])
    assert capsys.readouterr().err == (
        'error: PyTorch sees no GPU here. --device cpu tries the same script where there is none.\n'
    )
    assert not (tmp_path / 'w').exists()
