"""The recipes of CONTRIBUTING.md, carried out on a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^( *)```python (title|append)=(\S+)\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
SUPPORT = ('conftest.py', 'config_pages.py', 'tiny_data.py', 'test_architecture.py', 'test_configs.py')


def blocks():
    """(verb, file, text) of every block that names a file."""
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    return [(verb, name, textwrap.dedent(body)) for _, verb, name, body in BLOCK.findall(text)]


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A copy of the package and its configs, with every block of the page written where the page says."""
    root = tmp_path_factory.mktemp('project')
    for name in ('stt_mm', 'configs'):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns('__pycache__'))
    (root / 'tests').mkdir()
    for name in SUPPORT:
        shutil.copy(ROOT / 'tests' / name, root / 'tests')
    (root / 'tests' / 'data').mkdir()
    for path in [*(ROOT / 'tests' / 'data').glob('*.csv'), ROOT / 'tests' / 'data' / 'config_numbers.json']:
        shutil.copy(path, root / 'tests' / 'data')
    shutil.copy(ROOT / 'pyproject.toml', root)
    for verb, name, body in blocks():
        path = root / name
        if verb == 'append':
            assert path.is_file(), f'CONTRIBUTING.md adds to {name}, which does not exist'
            body = f'{path.read_text(encoding="utf-8")}\n{body}'
        else:
            assert not (ROOT / name).exists(), f'the example {name} exists already'
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding='utf-8')
    return root


def run(project, *arguments):
    return subprocess.run(
        [sys.executable, '-m', *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, 'PYTHONPATH': str(project)},
    )


def test_each_file_is_named_above_its_block():
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    for _, name, _ in blocks():
        before = text[: text.index(f'={name}\n')]
        assert f'`{name}`' in before[-500:], f'{name} is not named in the text before its block'


def test_the_page_has_all_recipes():
    tests = [name for _, name, _ in blocks() if name.startswith('tests/')]
    assert len(tests) == 6, 'a head, a method, a dataset, a metric, a protocol, a benchmark'


def pytest_passes(project, *arguments):
    result = run(project, 'pytest', '-p', 'no:cacheprovider', '--durations=0', *arguments)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]


@pytest.mark.slow
def test_the_tests_of_the_recipes_pass(project):
    pytest_passes(project, *(name for _, name, _ in blocks() if name.startswith('tests/')))


@pytest.mark.slow
def test_what_was_added_passes_the_tests_of_the_repository(project):
    added = [Path(name) for verb, name, _ in blocks() if verb == 'title']
    modules = [path.name for path in added if path.parts[0] == 'stt_mm']
    configs = [path.name for path in added if path.parts[0] == 'configs']
    assert (len(modules), len(configs)) == (5, 6)
    pytest_passes(project, 'tests/test_architecture.py', '-k', ' or '.join(modules))
    pytest_passes(project, 'tests/test_configs.py', '-k', ' or '.join(configs))


def test_the_code_keeps_the_style(project):
    names = [name for verb, name, _ in blocks() if verb == 'title']
    for command in (('check',), ('format', '--check')):
        result = run(project, 'ruff', *command, '--no-cache', *names)
        assert result.returncode == 0, result.stdout


def test_components_come_from_the_copy(project):
    output = subprocess.run(
        [sys.executable, '-c', 'import stt_mm; print(stt_mm.__file__)'],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(project)},
    ).stdout
    assert output.strip() == str(project / 'stt_mm' / '__init__.py')
