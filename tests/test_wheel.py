"""The wheel: what is in it, and that it works where there is no checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_data import moving_shapes, write_video

from stt_mm import __version__
from stt_mm.utils import write_mask
from stt_mm.utils.config_path import BUNDLED

ROOT = Path(__file__).parents[1]
PARTS = ('stt_mm', 'configs', 'tools', 'demo', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE')
INFO = f'stt_mm-{__version__}.dist-info'

pytestmark = pytest.mark.slow


def built(kind, source, out):
    """The file that setuptools makes of a folder, without network."""
    code = f'from setuptools import build_meta\nbuild_meta.build_{kind}({str(out)!r})'
    done = subprocess.run([sys.executable, '-c', code], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = out.glob('*.whl' if kind == 'wheel' else '*.tar.gz')
    return file


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Built by way of the source distribution, as for an index, from a copy, as a build leaves files in its folder."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns('__pycache__', 'data'))
        else:
            shutil.copy(ROOT / part, source / part)
    # Videos of the demo, of which none may come along.
    (source / 'demo' / 'data').mkdir()
    (source / 'demo' / 'data' / 'a.jpg').touch()
    with tarfile.open(built('sdist', source, out)) as archive:
        assert not any('/demo/data' in name for name in archive.getnames())
        archive.extractall(out, filter='data')
    return built('wheel', out / f'stt_mm-{__version__}', out)


def files_of(folder, *patterns):
    return {path.relative_to(ROOT) for pattern in patterns for path in (ROOT / folder).rglob(pattern)}


def test_what_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
        entry_points = archive.read(f'{INFO}/entry_points.txt').decode()
    assert entry_points == '[console_scripts]\nstt-mm = stt_mm.cli:main\n'
    assert wheel.name == f'stt_mm-{__version__}-py3-none-any.whl'
    beside = files_of('configs', '*.py') | files_of('tools', '*.py')
    beside |= {Path('demo', 'propagate.py'), Path('demo', BUNDLED['stt_r18_demo'])}
    assert {Path('stt_mm', path) for path in beside} <= names
    assert files_of('stt_mm', '*.py', '*.json', '*.c') <= names
    assert [name for name in names if name.suffix in ('.jpg', '.sh', '.md') or 'tests' in name.parts] == []
    assert {name.parts[0] for name in names} == {'stt_mm', INFO}


def test_a_video_is_carried_through_far_from_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / 'site')
    frames, masks = moving_shapes(4, (64, 96), 1)
    write_video(tmp_path / 'video.mp4', frames)
    write_mask(tmp_path / 'first.png', masks[0])

    def stt_mm(*arguments):
        # What is installed of the checkout comes after it.
        environment = dict(os.environ, PYTHONPATH=str(tmp_path / 'site'))
        command = [sys.executable, '-m', 'stt_mm.cli', *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    listed = stt_mm('--help')
    assert '  propagate ' in listed
    assert '  quickstart ' not in listed
    assert 'stt_davis_s8' in stt_mm('print-config', 'eval/davis_r18_s8')
    small = ('--cfg-options', 'model.propagator.protocol.short_side=64')
    told = stt_mm('propagate', 'video.mp4', '--mask', 'first.png', '--out', 'out.mp4', '--device', 'cpu', *small)
    assert 'protocol stt_davis_s8 v1, device cpu' in told
    with av.open(tmp_path / 'out.mp4') as film:
        assert film.streams.video[0].codec_context.name == 'h264'
        drawn = [frame.to_ndarray(format='rgb24') for frame in film.decode(video=0)]
    assert [frame.shape for frame in drawn] == [(64, 96, 3)] * 4
    assert not np.array_equal(drawn[0], frames[0])
