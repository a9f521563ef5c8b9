"""Counts of the benchmarks are checked before anything is measured."""

import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.mark.parametrize(
    ('command', 'option', 'value'),
    [
        *((command, '--repeats', '0') for command in ('data', 'train', 'pretrain', 'propagate', 'metric')),
        *((command, '--batch', '-1') for command in ('data', 'train', 'pretrain')),
        ('metric', '--frames', '0'),
        ('metric', '--frames', '2'),
        ('metric', '--objects', '0'),
        ('metric', '--size', '0'),
        ('propagate', '--objects', '0'),
        ('train', '--size', '-64'),
        ('data', '--threads', '0'),
    ],
)
def test_counts_that_mean_nothing_are_named(command, option, value, monkeypatch, capsys):
    monkeypatch.syspath_prepend(TOOLS)
    spec = importlib.util.spec_from_file_location('benchmark_tool', TOOLS / 'benchmark.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    more = ['4'] if (command, option) == ('metric', '--size') else []
    with pytest.raises(SystemExit, match='2'):
        module.main([command, option, value, *more])
    assert f'error: {option} must be at least' in capsys.readouterr().err
