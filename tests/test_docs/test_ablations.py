"""The table of docs/ablations.md is that of the runs beside it, and its command can be run."""

import csv
import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'ablations.md').read_text(encoding='utf-8')


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
    return importlib.import_module('run_ablation'), importlib.import_module('ablation_report')


def commands():
    blocks = re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    return [shlex.split(block.replace('\\\n', ' ').split('run_ablation.py', 1)[1]) for block in blocks]


@pytest.mark.parametrize('number', [1, 2])
def test_the_tables_are_those_of_the_runs(tools, number):
    tool, report = tools
    args = tool.parse_args(commands()[number - 1])
    rows = [
        report.Row('untrained', 'untrained network'),
        *(report.described(ROOT / name.partition('::')[0]) for name in args.configs if '=' not in name),
    ]
    with open(ROOT / 'docs' / 'ablations' / f'table{number}.csv', newline='', encoding='utf-8') as file:
        runs = list(csv.DictReader(file))
    for row in rows:
        row.runs = {
            int(run['seed']): {key: float(run[key]) for key in report.MEASURES}
            for run in runs
            if run['config'] == row.name
        }
        assert set(row.runs) == set(range(args.seeds))
    assert report.table(rows) in PAGE


def test_every_command_can_be_run(tools, monkeypatch):
    monkeypatch.chdir(ROOT)
    tool, _ = tools
    assert len(commands()) == 6
    for command in commands():
        args = tool.parse_args(command)
        tool.read_jobs(args)
        assert (ROOT / args.data).is_dir()
        assert (ROOT / args.eval_data).is_dir()
