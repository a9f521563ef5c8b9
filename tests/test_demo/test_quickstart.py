"""tools/quickstart.py without its training, and the environment script without its downloads."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / 'tools' / 'environment.sh'


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location('quickstart', ROOT / 'tools' / 'quickstart.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['quickstart'] = module
    spec.loader.exec_module(module)
    return module


quickstart = load()


def method(label: str, score: float) -> 'quickstart.Method':
    metrics = {'J&F-Mean': score, 'J-Mean': score - 0.01, 'F-Mean': score + 0.01}
    return quickstart.Method(label, label, 'config.py', 'none', metrics)


def test_table_is_in_percent_and_marks_the_best():
    lines = quickstart.table([method('colour', 0.5), method('trained', 0.6234), method('none', 0.4)]).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ['colour', '50.0', '49.0', '51.0'],
        ['trained', '62.3', '61.3', '63.3', 'best'],
        ['none', '40.0', '39.0', '41.0'],
    ]


def test_a_win_is_told():
    text = quickstart.verdict(method('trained', 0.62), [method('colour', 0.60), method('untrained', 0.5)])
    assert text == 'The short training beats both baselines: J&F is 2.0 above colour and 12.0 above untrained.'


@pytest.mark.parametrize('baseline', [0.62, 0.621, 0.7])
def test_a_defeat_or_a_draw_is_told(baseline):
    text = quickstart.verdict(method('trained', 0.62), [method('colour', baseline), method('untrained', 0.5)])
    assert 'does NOT beat every baseline' in text
    assert '12.0 above untrained' in text


@pytest.mark.parametrize('option', ['--iters=0', '--videos=9', '--frames=2', '--frames=26'])
def test_numbers_out_of_range_are_refused(option, capsys):
    with pytest.raises(SystemExit, match='2'):
        quickstart.parse_args([option])
    assert option.split('=')[0] in capsys.readouterr().err


def test_work_dir_of_an_earlier_run_is_emptied_but_nothing_else(tmp_path):
    quickstart.prepare_work_dir(tmp_path / 'own')
    (tmp_path / 'own' / 'train').mkdir()
    (tmp_path / 'own' / 'train' / 'iter_1.pth').touch()
    (tmp_path / 'own' / 'notes.txt').touch()
    quickstart.prepare_work_dir(tmp_path / 'own')
    assert not (tmp_path / 'own' / 'train').exists()
    assert (tmp_path / 'own' / 'notes.txt').exists()

    (tmp_path / 'other' / 'train').mkdir(parents=True)
    with pytest.raises(quickstart.CommandFailed, match='not empty'):
        quickstart.prepare_work_dir(tmp_path / 'other')
    assert (tmp_path / 'other' / 'train').exists()


def test_progress_shows_that_it_advances_and_when_it_ends(capsys, monkeypatch):
    now = iter([0.0, 0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr(quickstart.time, 'monotonic', lambda: next(now))
    progress = quickstart.Progress('training', 100)
    for done in (10, 20, 30):
        progress.update(done, 'loss 1.0')
    lines = capsys.readouterr().out.splitlines()
    assert '0/100, 0:00 gone, starting' in lines[0]
    # Ten iterations take ten seconds, so after 30 of 100 it is 70 seconds more.
    assert '30/100, 0:30 gone, 1:10 left, loss 1.0' in lines[-1]
    assert lines[1].count('#') < lines[2].count('#') < lines[3].count('#')


def test_a_failing_step_gives_its_last_line_and_its_log(tmp_path):
    log = tmp_path / 'step.log'
    script = 'import sys; print("Iter 1/2"); sys.exit("error: the reason")'
    with pytest.raises(quickstart.CommandFailed, match=r'a step failed: error: the reason\. .*step\.log'):
        quickstart.run(['-c', script], log, 'a step', 2, r'Iter (\d+)/')
    assert 'Iter 1/2' in log.read_text()


@pytest.mark.slow
def test_whole_quickstart_on_one_video(tmp_path):
    work_dir = tmp_path / 'quickstart'
    result = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'quickstart.py'), '--iters', '1', '--videos', '1', '--frames', '3',
         '--work-dir', str(work_dir)],
        capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    for row in ('raw Lab colour', 'untrained network', 'trained here, 1 iterations'):
        assert len([line for line in (work_dir / 'table.txt').read_text().splitlines() if line.startswith(row)]) == 1
    assert (work_dir / 'comparison.png').stat().st_size > 10000
    assert (work_dir / 'overlay.mp4').is_file()


def shell(command: str, *programs: str, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Source environment.sh with nothing on PATH but a few basic programs, and run a command."""
    programs_dir = folder / 'programs'
    programs_dir.mkdir()
    for name in ('bash', 'dirname', 'awk', 'sed', 'df', 'mkdir', 'rm', 'rmdir', 'cat', 'grep', *programs):
        (programs_dir / name).symlink_to(shutil.which(name))
    return subprocess.run(['bash', '-c', f'source {ENVIRONMENT}; {command}'], capture_output=True, text=True,
                          env={'PATH': str(programs_dir), 'TMPDIR': str(folder), **variables}, timeout=60)


def fake_environment(folder: Path) -> tuple[Path, Path]:
    """The running interpreter as a virtual environment in which pip installs nothing; returns it and its Python."""
    (folder / 'bin').mkdir(parents=True)
    python = folder / 'bin' / 'python'
    python.write_text('#!/bin/sh\ncase "$1 $2 $3" in\n"-m pip --version") exit 0 ;;\n'
                      '"-m pip install") echo "pip was called: $*" >&2; exit 9 ;;\nesac\n'
                      f'exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return folder, python


@pytest.mark.skipif(sys.platform == 'win32', reason='needs bash')
class TestEnvironment:

    def test_no_python_is_one_clear_line(self, tmp_path):
        result = shell('prepare_environment', folder=tmp_path, STT_MM_VENV=str(tmp_path / 'venv'))
        assert result.returncode == 1
        assert result.stderr.count('\n') == 1
        assert 'Python 3.10 to 3.13 is needed, found none' in result.stderr

    def test_help_needs_no_installation(self, tmp_path):
        result = subprocess.run(['bash', str(ROOT / 'tools' / 'quickstart.sh'), '--help'], capture_output=True,
                                text=True, timeout=60, cwd=tmp_path,
                                env={'PATH': os.environ['PATH'], 'PYTHON': os.path.realpath(sys.executable),
                                     'STT_MM_VENV': str(tmp_path / 'venv')})
        assert result.returncode == 0, result.stderr
        assert '--iters' in result.stdout
        assert not (tmp_path / 'venv').exists()

    def test_old_python_is_named(self, tmp_path):
        old = tmp_path / 'old_python'
        old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.8.10; else exit 1; fi\n')
        old.chmod(0o755)
        result = shell('prepare_environment', folder=tmp_path, STT_MM_VENV=str(tmp_path / 'venv'), PYTHON=str(old))
        assert result.returncode == 1
        assert 'found Python 3.8.10' in result.stderr

    def test_a_folder_that_is_no_environment_is_left_as_it_is(self, tmp_path):
        (tmp_path / 'mine').mkdir()
        (tmp_path / 'mine' / 'thesis.txt').touch()
        result = shell('prepare_environment', folder=tmp_path, STT_MM_VENV=str(tmp_path / 'mine'),
                       PYTHON=os.path.realpath(sys.executable))
        assert result.returncode == 1
        assert 'mine is not empty and no virtual environment' in result.stderr
        assert (tmp_path / 'mine' / 'thesis.txt').exists()

    def test_full_disk_is_told_before_anything_is_made(self, tmp_path):
        python = os.path.realpath(sys.executable)
        result = shell('ENVIRONMENT_GB=99999999; prepare_environment', folder=tmp_path,
                       STT_MM_VENV=str(tmp_path / 'venv'), PYTHON=python)
        assert result.returncode == 1
        assert 'needs about 99999999 GB' in result.stderr
        assert not (tmp_path / 'venv').exists()

    def test_a_stamped_environment_is_used_without_pip(self, tmp_path):
        fake, python = fake_environment(tmp_path / 'venv')
        stamp = f'PYTHON={python}; wanted_stamp > {fake}/.stt_mm_installed; PYTHON=; '
        result = shell(f'{stamp} prepare_environment && echo "ready: $PYTHON"', folder=tmp_path,
                       VIRTUAL_ENV=str(fake))
        assert result.returncode == 0, result.stderr
        assert f'ready: {python}' in result.stdout
        assert 'pip was called' not in result.stderr

    @pytest.mark.skipif(sys.version_info >= (3, 13), reason='the oldest versions have no wheels for it')
    def test_the_oldest_versions_go_into_an_environment_and_a_stamp_of_their_own(self, tmp_path):
        active, _ = fake_environment(tmp_path / 'active')
        oldest, python = fake_environment(tmp_path / 'oldest')
        # The stamp of the tested versions is none of the oldest.
        command = f'PYTHON={python}; wanted_stamp > {oldest}/.stt_mm_installed; PYTHON=; prepare_environment --minimum'
        result = shell(command, 'tee', 'tail', folder=tmp_path, VIRTUAL_ENV=str(active), STT_MM_VENV=str(oldest))
        assert result.returncode == 1
        assert 'the versions of requirements/minimum.txt do not install' in result.stderr
        log = (oldest / 'stt_mm_install.log').read_text()
        assert 'pip was called' in log
        assert '-c requirements/minimum.txt' in log
        assert not (active / 'stt_mm_install.log').exists()

    def test_a_python_too_new_for_the_oldest_versions_is_named(self, tmp_path):
        new = tmp_path / 'new_python'
        new.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.13.0; else '
                       'case "$3" in *3.13*) exit 0 ;; *) exit 1 ;; esac; fi\n')
        new.chmod(0o755)
        result = shell('prepare_environment --minimum', folder=tmp_path, STT_MM_VENV=str(tmp_path / 'venv'),
                       PYTHON=str(new))
        assert result.returncode == 1
        assert 'Python 3.10 to 3.12 is needed, found Python 3.13.0' in result.stderr
