"""Arguments that no shipped config sets are those of the table in docs/configs.md, each with its reason."""

import inspect
import re
from itertools import product
from pathlib import Path

from stt_mm import registry
from stt_mm.engine import load_config

ROOT = Path(__file__).parents[2]
# What MMEngine gives when it builds a component.
GIVEN = {'runner', 'dataloader', 'dataset', 'evaluator', 'optimizer', 'seed'}


def set_by(node, found):
    """Add the arguments of every component of a config to those by class."""
    if isinstance(node, dict):
        if isinstance(node.get('type'), str):
            found.setdefault(node['type'].rpartition('.')[2], set()).update(node)
        node = node.values()
    if not isinstance(node, str) and hasattr(node, '__iter__'):
        for item in node:
            set_by(item, found)
    return found


def unset():
    """(class, argument) of all components but networks, and the runner, which reads the whole config."""
    found = {}
    for path in (ROOT / 'configs').rglob('*.py'):
        if '_base_' not in path.parts:
            set_by(load_config(path).to_dict(), found)
    for kind in registry.ALL:
        kind.import_from_location()
    return {
        (name, argument)
        for kind in registry.ALL
        for name, target in kind.module_dict.items()
        if target.__module__.startswith('stt_mm.') and kind not in (registry.MODELS, registry.RUNNERS)
        for argument in inspect.signature(target).parameters.keys() - found.get(name, set()) - GIVEN
    }


def test_arguments_that_no_config_sets_are_justified():
    page = (ROOT / 'docs' / 'configs.md').read_text(encoding='utf-8')
    section = page.partition('## Arguments that no shipped config sets')[2].partition('\n## ')[0]
    rows = [line.strip('|').split('|') for line in section.splitlines() if line.startswith('| `')]
    names = [[re.findall(r'`(\w+)`', cell) for cell in row[:2]] for row in rows]
    pairs = [(kind, argument) for arguments, kinds in names for kind, argument in product(kinds, arguments)]
    assert len(pairs) == len(set(pairs)), 'an argument stands in two rows'
    assert set(pairs) == unset()
    assert all(len(row[2].strip()) > 20 for row in rows)
