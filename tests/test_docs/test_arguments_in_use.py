"""An argument that no shipped config and no variant on a page changes stands in a table of the docs, with a reason."""

import inspect
import re
from collections import defaultdict
from itertools import product
from pathlib import Path

from config_pages import parsed, variants

from stt_mm import registry
from stt_mm.engine import load_config

ROOT = Path(__file__).parents[2]
# What MMEngine gives when it builds a component, and its initialisation of any module.
GIVEN = {'runner', 'dataloader', 'dataset', 'evaluator', 'optimizer', 'seed', 'init_cfg'}
# Networks of others are described with them, and the runner reads the whole config.
OTHERS = ('stt_mm.models.backbones', 'stt_mm.engine.runner')
OWN = 'stt_mm.models.backbones.resnet'


def settings(node):
    """(type, argument, value) of all components of a config."""
    if isinstance(node, dict):
        kind = str(node.get('type')).rpartition('.')[2]
        yield from ((kind, name, value) for name, value in node.items())
        node = node.values()
    if not isinstance(node, str) and hasattr(node, '__iter__'):
        for value in node:
            yield from settings(value)


def unchanged():
    """(class, argument) of all components of this toolbox."""
    values = defaultdict(list)
    shipped = ((path, None) for path in ROOT.glob('configs/**/*.py') if '_base_' not in path.parts)
    for name, options in [*shipped, *((name, parsed(options)) for name, options in variants())]:
        for kind, argument, value in settings(load_config(name, options).to_dict()):
            values[kind, argument].append(value)
    for kind in registry.ALL:
        kind.import_from_location()
    classes = {(name, cls) for kind in registry.ALL for name, cls in kind.module_dict.items()}
    return {
        (name, argument.name)
        for name, cls in classes
        if cls.__module__.startswith('stt_mm.') and (cls.__module__ == OWN or not cls.__module__.startswith(OTHERS))
        for argument in inspect.signature(cls).parameters.values()
        if argument.name not in GIVEN and all(value == argument.default for value in values[name, argument.name])
    }


def test_each_argument_is_used_or_explained():
    page = (ROOT / 'docs' / 'configs.md').read_text(encoding='utf-8')
    section = page.partition('## Arguments that no shipped config changes')[2].partition('\n## ')[0]
    rows = [line.strip('|').split('|') for line in section.splitlines() if line.startswith('| `')]
    names = [[re.findall(r'`(\w+)`', cell) for cell in row[:2]] for row in rows]
    pairs = [(kind, argument) for arguments, kinds in names for kind, argument in product(kinds, arguments)]
    assert len(pairs) == len(set(pairs)), 'an argument stands in two rows'
    assert set(pairs) == unchanged()
    assert all(len(row[2].strip()) > 10 for row in rows)
