"""The tables of docs/ablations.md are those of the runs beside it, and its commands can be run."""

import csv
import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Of the commands of the page, in their order.
TABLES = ('table1', 'table2', 'liir', 'stt_liir')
PAGE = (ROOT / 'docs' / 'ablations.md').read_text(encoding='utf-8')


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
    return importlib.import_module('run_ablation'), importlib.import_module('ablation_report')


def commands():
    blocks = re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    return [shlex.split(block.replace('\\\n', ' ').split('run_ablation.py', 1)[1]) for block in blocks]


def told(line):
    """Cells of a line of a table but for its first columns, which may be worded otherwise, and the paper's number."""
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    return cells[2:7]


def runs_of(name):
    """Metrics by row and seed."""
    found = {}
    with open(ROOT / 'docs' / 'ablations' / f'{name}.csv', newline='', encoding='utf-8') as file:
        for run in csv.DictReader(file):
            scores = {key: float(value) for key, value in run.items() if key not in ('config', 'seed')}
            found.setdefault(run['config'], {})[int(run['seed'])] = scores
    return found


@pytest.mark.parametrize('number', range(len(TABLES)))
def test_the_tables_are_those_of_the_runs(tools, number, monkeypatch):
    monkeypatch.chdir(ROOT)
    tool, report = tools
    args, runs = tool.parse_args(commands()[number]), runs_of(TABLES[number])
    jobs = [tool.Job(name, args) for name in args.configs if '=' not in name]
    rows = [report.Row('untrained', 'untrained network'), *(job.row for job in jobs)]
    assert [row.name for row in rows] == list(runs)
    for row in rows:
        row.runs = runs[row.name]
        assert set(row.runs) == set(range(args.seeds))
    if not any('@' in name for name in args.configs):
        assert report.table(rows) in PAGE
    page = [told(line) for line in PAGE.splitlines() if line.startswith('| ')]
    for line in report.table(rows).splitlines():
        assert told(line) in page


def test_the_steps_of_liir_are_those_of_the_runs(tools):
    _, report = tools
    rows = {name: report.Row(name, name, runs=runs) for name, runs in runs_of('liir').items()}
    found = re.findall(r'^\| (?:4|5b|5d) \| `(\w+)` \| `(\w+)` \| ([^|]+) \| ([^|]+) \|', PAGE, re.MULTILINE)
    assert len(found) == 10
    for row, above, mean, each in found:
        steps = rows[row].steps(rows[above])
        assert mean == report.spread(steps, signed=True)
        assert each == ', '.join(f'{step:+.1f}' for step in steps)


def test_every_command_can_be_run(tools, monkeypatch):
    monkeypatch.chdir(ROOT)
    tool, _ = tools
    assert len(commands()) == len(TABLES)
    for command in commands():
        args = tool.parse_args(command)
        tool.read_jobs(args)
        assert (ROOT / args.data).is_dir()
        assert (ROOT / args.eval_data).is_dir()
