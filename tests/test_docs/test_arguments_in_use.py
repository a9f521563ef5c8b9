"""An argument that no shipped config and no variant on a page changes has a line in the docs that explains it."""

import inspect
import re
from collections import defaultdict
from pathlib import Path

from config_pages import parsed, variants
from mmengine.config import Config

import stt_mm.models  # noqa: F401 registers them
from stt_mm.engine import load_config
from stt_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
PARTS = ('correspondence', 'heads', 'losses', 'penalties', 'pretrain', 'data_preprocessor', 'backbones.resnet')


def settings(node):
    """(type, argument, value) of all components of a config."""
    if isinstance(node, dict):
        kind = str(node.get('type')).rpartition('.')[2]
        yield from ((kind, name, value) for name, value in node.items())
        node = node.values()
    if isinstance(node, list | tuple) or not isinstance(node, str | int | float | bool | type(None)):
        for value in node:
            yield from settings(value)


def test_each_argument_is_used_or_explained():
    values = defaultdict(list)
    shipped = [Config.fromfile(path) for path in ROOT.glob('configs/**/*.py') if '_base_' not in path.parts]
    for cfg in [*shipped, *(load_config(name, parsed(options)) for name, options in variants())]:
        for kind, name, value in settings(cfg.to_dict().get('model', {})):
            values[kind, name].append(value)
    unused = {
        f'{kind}.{name}'
        for kind, cls in MODELS.module_dict.items()
        if cls.__module__.removeprefix('stt_mm.models.').startswith(PARTS)
        for name, argument in inspect.signature(cls).parameters.items()
        if name != 'init_cfg' and all(value == argument.default for value in values[kind, name])
    }
    page = (ROOT / 'docs' / 'training.md').read_text(encoding='utf-8')
    table = page[page.index('## Arguments that no shipped config changes') :]
    assert set(re.findall(r'`(\w+\.\w+)`', table)) == unused
