"""Every link, file and command of the documents leads to something that exists."""

import io
import os
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from mmengine.config import Config

from stt_mm.cli import commands

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')),
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'configs').glob('*/README.md')),
    ROOT / 'demo' / 'README.md',
]
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
FOLDERS = ('configs', 'tools', 'docs', 'tests', 'demo', 'stt_mm', 'requirements')
NAMED = re.compile(rf'(?<![\w/.<])((?:{"|".join(FOLDERS)})/[\w./-]*\w)')
MADE = {name for page in PAGES for name in re.findall(r'(?:title|append)=(\S+)', page.read_text(encoding='utf-8'))}
COMMANDS = {name: str(file.relative_to(ROOT)) for name, file in commands().items()} | {'app': 'demo/app.py'}
TITLED = re.compile(r'```python title=(configs/\S+)\n(.*?)^```', re.MULTILINE | re.DOTALL)


def ids(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_links(page):
    for target in LINK.findall(page.read_text(encoding='utf-8')):
        if not target.startswith(('http://', 'https://', '#')):
            assert (page.parent / target.split('#')[0]).exists(), f'{page.name} links to {target}'


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_named_files(page):
    for name in NAMED.findall(page.read_text(encoding='utf-8')):
        assert name in MADE or (ROOT / name).exists(), f'{page.name} names {name}'


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_options_exist(page):
    """Every --option after a tool or command of ours is one that it has."""
    text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
    calls = re.findall(r'python ((?:tools|demo)/[\w/]+\.py)([^\n`]*)', text)
    calls += [(COMMANDS[name], rest) for name, rest in re.findall(r'stt-mm ([a-z][\w-]*)([^\n`]*)', text)]
    for script, rest in calls:
        options = set(re.findall(r'(?<=\s)--?[a-z][\w-]*', rest.split('#')[0]))
        known = help_text(script) if options else ''
        if '{' in known and rest.split()[0] in re.findall(r'\w+', known.split('{')[1].split('}')[0]):
            known = help_text(script, rest.split()[0])
        missing = sorted(option for option in options if option not in known)
        assert not missing, f'{page.name}: {script} has no {", ".join(missing)}'


def help_text(script, command='', known={}):  # noqa: B006 asked once per command
    if (script, command) not in known:
        out = io.StringIO()
        # In this process: each of twenty would import torch anew.
        with (
            mock.patch.object(sys, 'argv', [script, *([command] if command else []), '--help']),
            mock.patch.object(sys, 'path', [str((ROOT / script).parent), *sys.path]),
            mock.patch.dict(os.environ),
            redirect_stdout(out),
            pytest.raises(SystemExit) as stop,
        ):
            runpy.run_path(str(ROOT / script), run_name='__main__')
        assert not stop.value.code
        known[script, command] = out.getvalue()
    return known[script, command]


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_plain_text(page):
    text = page.read_text(encoding='utf-8')
    assert '\t' not in text
    fences = [line for line in text.splitlines() if line.strip().startswith('```')]
    assert len(fences) % 2 == 0
    for line in text.splitlines():
        assert line == line.rstrip(), f'{page.name}: space at the end of {line!r}'


def test_the_config_for_own_videos_loads(tmp_path):
    ((name, text),) = TITLED.findall((ROOT / 'docs' / 'training.md').read_text(encoding='utf-8'))
    assert not (ROOT / name).exists()
    path = tmp_path / Path(name).name
    path.write_text(text.replace("'./", f"'{(ROOT / name).parent}/"), encoding='utf-8')
    dataset = Config.fromfile(path).train_dataloader.dataset
    assert dataset.type == 'VideoFolder'
    assert 'split' not in dataset


def test_the_ablation_of_the_readme_is_the_shipped_one(capsys):
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert (ROOT / 'configs' / 'ablations' / 'select_per_image_r18.py').read_text(encoding='utf-8') in text
    main = runpy.run_path(str(ROOT / 'tools' / 'print_config.py'))['main']
    main(
        [
            str(ROOT / 'configs' / 'ablations' / 'select_per_image_r18.py'),
            '--diff',
            str(ROOT / 'configs' / 'stt_r18_ytv.py'),
        ]
    )
    assert capsys.readouterr().out in text


def test_the_readme_is_short():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert text.count('\n') < 150


def test_the_table_of_sources_is_that_of_the_code():
    from stt_mm.utils.key_maps import SOURCES

    text = (ROOT / 'docs' / 'checkpoints.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| ([^|]+?) \|', text, re.MULTILINE)
    assert rows[2:] == [*(source.name for source in SOURCES), 'names of the module']


def test_variables_are_those_of_the_configs():
    text = (ROOT / 'docs' / 'configs.md').read_text(encoding='utf-8')
    used = {
        match
        for path in (ROOT / 'configs').rglob('*.py')
        for match in re.findall(r'\{\{\$(\w+):([^}]+)\}\}', path.read_text(encoding='utf-8'))
    }
    for name, default in used:
        assert re.search(rf'^\| `{name}` \|.*`{re.escape(default)}` \|$', text, re.MULTILINE), name
