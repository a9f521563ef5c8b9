"""The command stt-mm: what it lists, how it runs a tool, and what it says of what it does not know."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from stt_mm import __version__, cli
from stt_mm.utils import config_path

ROOT = Path(__file__).parents[1]
TOOLS = {'train': 'tools/train.py', 'eval': 'tools/eval_folder.py', 'show-matches': 'tools/analysis/show_matches.py'}


def stt_mm(*arguments):
    command = [sys.executable, '-m', 'stt_mm.cli', *arguments]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd='/')


def ended(capsys, *arguments):
    """Exit status and the two streams of a call that ends by itself."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code, *capsys.readouterr()


@pytest.mark.parametrize('arguments', [(), ('--help',), ('-h',)])
def test_the_help_has_a_line_for_each_tool(capsys, arguments):
    code, out, err = ended(capsys, *arguments)
    assert (code, err) == (0, '')
    scripts = {
        path.relative_to(ROOT).as_posix()
        for folder in ('tools', 'demo')
        for path in (ROOT / folder).rglob('*.py')
        if "if __name__ == '__main__'" in path.read_text() and path.name != 'app.py'
    }
    found = {name: file.relative_to(ROOT).as_posix() for name, file in cli.commands().items()}
    assert found.items() >= TOOLS.items()
    assert set(found.values()) == {*scripts, 'stt_mm/app/__init__.py'}
    assert len(set(found.values())) == len(found)
    lines = {line.split()[0]: line.strip() for line in out.splitlines() if line.startswith('  ')}
    assert lines.keys() >= found.keys()
    assert lines['train'] == 'train                Train a model'
    assert list(found)[:4] == ['propagate', 'app', 'convert-masks', 'train']


@pytest.mark.parametrize(('columns', 'widest'), [(200, 100), (100, 100), (60, 60)])
def test_the_help_fits_the_terminal(capsys, monkeypatch, columns, widest):
    monkeypatch.setenv('COLUMNS', str(columns))
    _, out, _ = ended(capsys, '--help')
    commands = out.partition('\n\noptions:')[0].partition('your own videos:')[2].splitlines()[1:]
    assert max(len(line) for line in commands) <= widest
    # Two columns: a line goes on below its own text.
    assert all(not line or not line.startswith(' ') or line[:23].strip() in (*cli.commands(), '') for line in commands)
    assert all(line[22] == ' ' != line[23] for line in commands if line.startswith(' '))
    if columns >= widest == 100:
        assert all(line[:23].strip() for line in commands if line.startswith(' ')), 'a description needs two lines'


def test_examples_are_called_as_the_tool_was(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '70')
    _, shown, _ = ended(capsys, 'compare-results', '--help')
    assert '  stt-mm test eval/davis_r18_s8 none --out untrained.json\n' in shown
    assert '  stt-mm compare-results untrained.json stt.json\n' in shown
    assert 'tools/analysis' not in shown
    script = [sys.executable, str(ROOT / 'tools' / 'analysis' / 'compare_results.py'), '--help']
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    called = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300, check=True).stdout
    assert '  python tools/analysis/compare_results.py untrained.json stt.json\n' in called
    # Paragraphs are fitted to the terminal, examples are not.
    lines = called.splitlines()
    assert max(len(line) for line in lines if not line.startswith('  python')) <= 70 < max(map(len, lines))


def test_what_only_the_repository_has_is_not_listed_elsewhere(monkeypatch):
    monkeypatch.setattr(cli, 'PACKAGE', ROOT)
    assert {'train', 'app', 'propagate'} <= cli.commands().keys()
    assert not {'benchmark', 'collect-results', 'quickstart'} & cli.commands().keys()


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('tets', 'Did you mean test?'),
        ('convert_checkpoint.py', 'Did you mean convert?'),
        ('eval_folder', 'Did you mean eval?'),
        ('browse-datset', 'there is no command'),
        ('xyz', 'there is no command \'xyz\'. "stt-mm --help" lists all.'),
    ],
)
def test_unknown_commands_suggest_those_that_are_meant(capsys, name, hint):
    code, _, err = ended(capsys, name)
    assert code == 2
    assert hint in err.splitlines()[-1]


def test_the_version(capsys):
    assert ended(capsys, '--version') == (0, f'stt-mm {__version__}\n', '')


def test_a_tool_runs_as_if_it_were_called(capsys):
    helped = stt_mm('print-config', '--help')
    assert (helped.returncode, helped.stderr) == (0, '')
    assert helped.stdout.startswith('usage: stt-mm print-config [-h] [--diff OTHER_CONFIG]')
    printed = stt_mm('print-config', 'eval/davis_r18_s8', '--cfg-options', 'randomness.seed=7')
    assert printed.returncode == 0
    assert 'seed=7' in printed.stdout.replace(' ', '')
    code, _, err = ended(capsys, 'print-config', 'eval/davis_r18_s9')
    assert code == 1
    assert err.startswith('error: There is no file eval/davis_r18_s9')
    # One that imports a file beside it.
    assert stt_mm('run-ablation', '--help').returncode == 0


def test_the_app_is_imported_when_asked_for(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(sys, 'argv', ['stt-mm'])
    app = types.ModuleType('stt_mm.app')
    app.main = given.append
    monkeypatch.setitem(sys.modules, 'stt_mm.app', app)
    cli.main(['app', 'folder', '--port', '1'])
    assert given == [['folder', '--port', '1']]
    assert sys.argv[0] == 'stt-mm app'


def test_folders_beside_the_package_and_in_it(tmp_path, monkeypatch):
    assert config_path.shipped('tools') == ROOT / 'tools'
    monkeypatch.setattr(config_path, 'PACKAGE', tmp_path / 'stt_mm')
    assert config_path.shipped('tools') == tmp_path / 'tools'
    (tmp_path / 'stt_mm' / 'tools').mkdir(parents=True)
    assert config_path.shipped('tools') == tmp_path / 'stt_mm' / 'tools'
    assert config_path.bundled('nothing') is None
    assert config_path.bundled('stt_r18_demo').parent == tmp_path / 'demo'
