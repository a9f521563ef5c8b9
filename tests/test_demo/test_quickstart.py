"""tools/quickstart.py without its training, and the environment script without its downloads."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from stt_mm import visualization
from stt_mm.engine import load_config
from stt_mm.engine.cli import option_value
from stt_mm.engine.steps import StepFailed
from stt_mm.utils import read_image, read_mask, resize_mask

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
    # Numbers are right-aligned below their heads.
    assert lines[0] == 'method      J&F       J       F'
    assert lines[1] == '-' * len(lines[0])
    assert [line.find('.') for line in lines[2:]] == [13, 13, 13]
    assert [line.split() for line in lines[2:]] == [
        ['colour', '50.0', '49.0', '51.0'],
        ['trained', '62.3', '61.3', '63.3', 'best'],
        ['none', '40.0', '39.0', '41.0'],
    ]


def test_a_win_is_told():
    text = quickstart.verdict(method('trained', 0.62), [method('colour', 0.60), method('untrained', 0.5)])
    assert text == 'The short training beats both baselines: J&F is 2.0 above colour and 12.0 above untrained.'
    # Differences of what the table shows: 62.3, 60.2 and 61.8.
    text = quickstart.verdict(method('trained', 0.6234), [method('colour', 0.6016), method('untrained', 0.6184)])
    assert text == 'The short training beats both baselines: J&F is 2.1 above colour and 0.5 above untrained.'


@pytest.mark.parametrize('baseline', [0.62, 0.621, 0.7])
def test_a_defeat_or_a_draw_is_told(baseline):
    text = quickstart.verdict(method('trained', 0.62), [method('colour', baseline), method('untrained', 0.5)])
    assert 'does NOT beat every baseline' in text
    assert '12.0 above untrained' in text


def test_work_dir_of_an_earlier_run_is_emptied_but_nothing_else(tmp_path):
    quickstart.prepare_work_dir(tmp_path / 'own')
    (tmp_path / 'own' / 'train').mkdir()
    (tmp_path / 'own' / 'train' / 'iter_1.pth').touch()
    (tmp_path / 'own' / 'notes.txt').touch()
    quickstart.prepare_work_dir(tmp_path / 'own')
    assert not (tmp_path / 'own' / 'train').exists()
    assert (tmp_path / 'own' / 'notes.txt').exists()

    (tmp_path / 'other' / 'train').mkdir(parents=True)
    with pytest.raises(ValueError, match='not empty'):
        quickstart.prepare_work_dir(tmp_path / 'other')
    assert (tmp_path / 'other' / 'train').exists()


@pytest.mark.parametrize('made', [True, False])
def test_all_of_an_earlier_run_goes(tmp_path, made):
    folder = tmp_path / 'new' / 'deep'
    if made:
        folder.mkdir(parents=True)  # An empty folder is as good as none.
    quickstart.prepare_work_dir(folder)
    for name in ('train', 'eval', 'masks', 'logs'):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / 'old').touch()
    for name in ('overlay.mp4', 'comparison.png', 'table.txt', 'notes.txt'):
        (folder / name).touch()
    quickstart.prepare_work_dir(folder)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')) == [
        '.quickstart',
        'notes.txt',
    ]


def test_a_work_dir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=r'file/work cannot be written: Not a directory\.'):
        quickstart.prepare_work_dir(tmp_path / 'file' / 'work')


def test_a_failing_step_gives_its_last_line_and_its_log(tmp_path, capsys):
    log = tmp_path / 'step.log'
    script = 'import sys; print("Iter(test) [1/2]"); sys.exit("error: the reason")'
    with pytest.raises(StepFailed, match=r'a step failed: error: the reason\. .*step\.log'):
        quickstart.run(['-c', script], log, 'a step')
    assert 'Iter(test) [1/2]' in log.read_text()
    assert f'$ {quickstart.python_name()} -c ' in capsys.readouterr().out


def test_the_interpreter_is_named_as_one_would_type_it(monkeypatch):
    monkeypatch.setattr(sys, 'executable', str(ROOT / '.venv' / 'bin' / 'python'))
    assert quickstart.python_name() == '.venv/bin/python'
    monkeypatch.setattr(sys, 'executable', '/usr/bin/python')
    assert quickstart.python_name() == '/usr/bin/python'


SCORES = dict(color=0.5, untrained=0.4, trained=0.6, shipped=0.7)


def asked(arguments):
    """The config of a step as the step itself would load it, and its other arguments."""
    at = arguments.index('--cfg-options')
    options = dict(text.split('=', 1) for text in arguments[at + 1 :])
    return load_config(arguments[1], {key: option_value(value) for key, value in options.items()}), arguments[:at]


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """The quickstart with steps that write at once what the real ones write; yields the steps it has asked for."""
    calls = []

    def run(arguments, log, label):
        calls.append((arguments, log, label))
        if arguments[0] == 'tools/train.py':
            folder = Path(arguments[arguments.index('--work-dir') + 1])
            folder.mkdir()
            (iters,) = re.findall(r'max_iters=(\d+)', ' '.join(arguments))
            (folder / f'iter_{iters}.pth').touch()
            return
        folder, masks = (Path(arguments[arguments.index(name) + 1]) for name in ('--work-dir', '--dump-masks'))
        folder.mkdir(parents=True)
        metrics = {'J&F-Mean': SCORES[folder.name], 'J-Mean': 0.3, 'F-Mean': 0.9}
        (folder / 'result.json').write_text(json.dumps(dict(metrics=metrics)))
        (folder / 'davis_results.json').write_text(json.dumps(dict(per_sequence=dict(soccer=metrics, bus=metrics))))
        for video in ('bus', 'soccer'):
            shutil.copytree(ROOT / quickstart.DAVIS / 'Annotations' / '480p' / video, masks / video)

    monkeypatch.setattr(quickstart, 'run', run)
    monkeypatch.chdir(ROOT)
    return calls


def test_every_step_is_asked_for_what_the_arguments_say(steps, tmp_path, capsys):
    work = tmp_path / 'work'
    quickstart.main(['--iters', '30', '--work-dir', str(work)])
    train, *tests = steps
    cfg, rest = asked(train[0])
    assert rest == ['tools/train.py', 'configs/stt_r18_demo.py', '--no-validate', '--work-dir', str(work / 'train')]
    assert train[1:] == (work / 'logs' / 'train.log', 'training')
    assert (cfg.train_cfg.max_iters, cfg.default_hooks.checkpoint.interval, cfg.default_hooks.logger.interval) == (
        30,
        30,
        2,
    )
    assert [(part['end'], part.get('T_max')) for part in cfg.param_scheduler] == [(20, None), (30, 30)]
    keys = ['color', 'untrained', 'trained', 'shipped']
    assert [step[0][2] for step in tests] == [
        'none',
        'none',
        str(work / 'train' / 'iter_30.pth'),
        'stt_r18_demo',
    ]
    for key, (arguments, log, label) in zip(keys, tests, strict=True):
        cfg, rest = asked(arguments)
        assert rest[1] == f'configs/eval/davis_{"color" if key == "color" else "r18_s8"}.py'
        assert rest[3:] == [
            '--out',
            str(work / 'eval' / key / 'result.json'),
            '--work-dir',
            str(work / 'eval' / key),
            '--dump-masks',
            str(work / 'masks' / key),
        ]
        assert log == work / 'logs' / f'{key}.log'
        assert label.startswith('evaluating, ')
        dataset = cfg.test_dataloader.dataset
        assert (dataset.data_root, dataset.get('max_frames')) == ('demo/data/davis', None)
        assert cfg.model.propagator.protocol.short_side == 320
        assert cfg.default_hooks.logger.interval == 1
    out = capsys.readouterr().out
    table = (work / 'table.txt').read_text()
    assert table in out
    assert table.startswith('Label propagation on demo/data/davis, short side 320, in percent\n\nmethod')
    assert [line[len('trained here, 30 iterations') :].split()[0] for line in table.splitlines()[4:8]] == [
        '50.0',
        '40.0',
        '60.0',
        '70.0',
    ]
    assert 'trained here, 30 iterations: J&F 60.0' in out
    assert f'overlay video (shipped checkpoint): {work}/overlay.mp4' in out


def test_the_film_and_the_picture_show_the_best_method_and_all(steps, tmp_path, monkeypatch):
    shown = []
    write = visualization.write_comparison
    monkeypatch.setattr(quickstart, 'write_comparison', lambda *what: shown.extend(what) or write(*what))
    quickstart.main(['--work-dir', str(tmp_path / 'work')])
    _, rows, columns = shown
    # The masks of the 25 frames: the first, those at a third and two thirds, the last.
    assert columns == ['soccer, frame 0 (given)', 'soccer, frame 8', 'soccer, frame 16', 'soccer, frame 24']
    assert [label for label, _ in rows] == [
        'human labels',
        *(
            f'{label}, J&F {100 * score:.1f} on this video'
            for label, score in (
                ('raw Lab colour', 0.5),
                ('untrained network', 0.4),
                ('trained here, 150 iterations', 0.6),
                ('shipped checkpoint', 0.7),
            )
        ),
    ]
    assert {picture.shape for _, pictures in rows for picture in pictures} == {(240, 360, 3)}
    frame = cv2.resize(
        read_image(ROOT / quickstart.DAVIS / 'JPEGImages' / '480p' / 'soccer' / '00008.jpg'),
        (360, 240),
        interpolation=cv2.INTER_CUBIC,
    )
    mask = resize_mask(read_mask(ROOT / quickstart.DAVIS / 'Annotations' / '480p' / 'soccer' / '00008.png'), (240, 360))
    assert np.array_equal(rows[0][1][1], visualization.overlay(frame, mask))
    # The truth was dumped as every method's masks.
    assert all(
        np.array_equal(one, other) for _, pictures in rows for one, other in zip(rows[0][1], pictures, strict=True)
    )
    film = cv2.VideoCapture(str(tmp_path / 'work' / 'overlay.mp4'))
    assert (film.get(cv2.CAP_PROP_FRAME_COUNT), film.get(cv2.CAP_PROP_FPS)) == (25, 8)
    frame = film.read()[1]
    assert frame.shape == (320, 960, 3)
    assert np.abs(frame[:, :480].astype(int) - frame[:, 480:]).max() > 40
    assert cv2.imread(str(tmp_path / 'work' / 'comparison.png')) is not None


def test_files_are_named_from_the_checkout(steps, tmp_path, monkeypatch, capsys):
    (tmp_path / 'demo' / 'data' / 'clips').mkdir(parents=True)
    (tmp_path / 'demo' / 'data' / 'davis').symlink_to(ROOT / 'demo' / 'data' / 'davis')
    monkeypatch.setattr(quickstart, 'ROOT', tmp_path)
    quickstart.main(['--work-dir', 'work'])
    out = capsys.readouterr().out
    assert 'picture of all methods: work/comparison.png\ntable, logs, masks: work/\n\nFinished in ' in out
    assert re.search(rf'Finished in \d+\.\d minutes\. Next, in {tmp_path}:', out)


def test_without_the_usual_video_the_first_is_shown(steps, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(quickstart, 'write_comparison', lambda path, rows, columns: shown.extend(columns) or path)
    monkeypatch.setattr(quickstart, 'SHOWN', 'tennis')
    quickstart.main(['--work-dir', str(tmp_path / 'work')])
    assert shown[0] == 'bus, frame 0 (given)'


@pytest.mark.parametrize('there', ['clips', 'davis'])
def test_data_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys, there):
    monkeypatch.chdir(ROOT)
    (tmp_path / 'demo' / 'data' / there).mkdir(parents=True)
    monkeypatch.setattr(quickstart, 'ROOT', tmp_path)
    with pytest.raises(SystemExit, match='1'):
        quickstart.main(['--work-dir', str(tmp_path / 'work')])
    assert capsys.readouterr().err.startswith(f'error: demo/data is not complete in {tmp_path}')


@pytest.mark.slow
def test_whole_quickstart_on_one_video(tmp_path, monkeypatch):
    work_dir, run = tmp_path / 'quickstart', quickstart.run

    def shortened(arguments, log, label):
        few = ['test_dataloader.dataset.indices=1', 'test_dataloader.dataset.max_frames=3']
        run([*arguments, *(few if arguments[0] == 'tools/test.py' else [])], log, label)

    monkeypatch.setattr(quickstart, 'run', shortened)
    monkeypatch.chdir(tmp_path)
    quickstart.main(['--iters', '1', '--work-dir', str(work_dir)])
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
    return subprocess.run(
        ['bash', '-c', f'source {ENVIRONMENT}; {command}'],
        capture_output=True,
        text=True,
        env={'PATH': str(programs_dir), 'TMPDIR': str(folder), **variables},
        timeout=60,
    )


def fake_environment(folder: Path) -> tuple[Path, Path]:
    """The running interpreter as a virtual environment in which pip installs nothing; returns it and its Python."""
    (folder / 'bin').mkdir(parents=True)
    python = folder / 'bin' / 'python'
    python.write_text(
        '#!/bin/sh\ncase "$1 $2 $3" in\n"-m pip --version") exit 0 ;;\n'
        '"-m pip install") echo "pip was called: $*" >&2; exit 9 ;;\nesac\n'
        f'exec {sys.executable} "$@"\n'
    )
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
        result = subprocess.run(
            ['bash', str(ROOT / 'tools' / 'quickstart.sh'), '--help'],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={
                'PATH': os.environ['PATH'],
                'PYTHON': os.path.realpath(sys.executable),
                'STT_MM_VENV': str(tmp_path / 'venv'),
            },
        )
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
        result = shell(
            'prepare_environment',
            folder=tmp_path,
            STT_MM_VENV=str(tmp_path / 'mine'),
            PYTHON=os.path.realpath(sys.executable),
        )
        assert result.returncode == 1
        assert 'mine is not empty and no virtual environment' in result.stderr
        assert (tmp_path / 'mine' / 'thesis.txt').exists()

    def test_full_disk_is_told_before_anything_is_made(self, tmp_path):
        python = os.path.realpath(sys.executable)
        result = shell(
            'ENVIRONMENT_GB=99999999; prepare_environment',
            folder=tmp_path,
            STT_MM_VENV=str(tmp_path / 'venv'),
            PYTHON=python,
        )
        assert result.returncode == 1
        assert 'needs about 99999999 GB' in result.stderr
        assert not (tmp_path / 'venv').exists()

    def test_a_stamped_environment_is_used_without_pip(self, tmp_path):
        fake, python = fake_environment(tmp_path / 'venv')
        stamp = f'PYTHON={python}; wanted_stamp > {fake}/.stt_mm_installed; PYTHON=; '
        result = shell(f'{stamp} prepare_environment && echo "ready: $PYTHON"', folder=tmp_path, VIRTUAL_ENV=str(fake))
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
        new.write_text(
            '#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.13.0; else '
            'case "$3" in *3.13*) exit 0 ;; *) exit 1 ;; esac; fi\n'
        )
        new.chmod(0o755)
        result = shell(
            'prepare_environment --minimum', folder=tmp_path, STT_MM_VENV=str(tmp_path / 'venv'), PYTHON=str(new)
        )
        assert result.returncode == 1
        assert 'Python 3.10 to 3.12 is needed, found Python 3.13.0' in result.stderr
