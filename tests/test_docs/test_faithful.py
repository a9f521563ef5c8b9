"""The table of docs/faithful_to_paper.md names only what exists, and its examples change what they claim."""

import inspect
import re
from pathlib import Path

import pytest
from config_pages import pages, parsed
from mmengine.config import Config
from mmengine.registry import init_default_scope

from stt_mm.engine import load_config
from stt_mm.registry import DATASETS, LOOPS, MODELS, TRANSFORMS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs' / 'faithful_to_paper.md'
CLASS = re.compile(r'^([A-Z]\w+)\.(\w+)$')
KEY = re.compile(r'^[a-z]\w*(\.\w+)*$')
ROWS = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in PAGE.read_text(encoding='utf-8').splitlines()
    if re.match(r'\| \d+ \|', line)
]


def code(cell):
    return re.findall(r'`([^`]+)`', cell)


# Variants by name: the number of their differences, and the options that make them.
VARIANTS = {
    name: (numbers.split(', '), options)
    for name, numbers, options in re.findall(
        r'^\| `(\w+)`: (?:(\d[\d, ]*): )?[^|]*\| `configs/stt_r18_ytv\.py` \| `([^`]+)` \|$',
        pages()['ablations'],
        re.MULTILINE,
    )
}

LIIR_ROWS = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in PAGE.read_text(encoding='utf-8').splitlines()
    if re.match(r'\| L\d+ \|', line)
]


def configs(row):
    return code(row[6])


def load(name):
    """A config of the page, or the default with the options of a variant."""
    if name in VARIANTS:
        return load_config('stt_r18_ytv', parsed(VARIANTS[name][1])).to_dict()
    return load_config(ROOT / (name if '/' in name else f'configs/ablations/{name}')).to_dict()


def classes(row):
    return [match.groups() for text in code(row[5]) if (match := CLASS.match(text))]


def find(name):
    init_default_scope('stt_mm')
    found = (registry.get(name) for registry in (MODELS, DATASETS, TRANSFORMS, LOOPS))
    return next((cls for cls in found if cls is not None), None)


def holders(value, name):
    """Every dict of a config whose type is ``name``."""
    if isinstance(value, dict):
        if value.get('type') == name:
            yield value
        value = value.values()
    if isinstance(value, (list, tuple)) or hasattr(value, '__iter__') and not isinstance(value, str):
        for item in value:
            yield from holders(item, name)


def test_all_differences_are_there():
    assert [int(row[0]) for row in ROWS] == list(range(1, 36))
    assert {len(row) for row in ROWS} == {7}


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_arguments_exist(row):
    for name, argument in classes(row):
        cls = find(name)
        assert cls is not None, f'row {row[0]}: {name} is not registered'
        assert argument in inspect.signature(cls.__init__).parameters, f'row {row[0]}: {name} has no {argument}'
    base = Config.fromfile(ROOT / 'configs' / 'stt_r18_ytv.py')
    for key in code(row[5]):
        if KEY.match(key):
            assert base.get(key.split('.')[0]) is not None, f'row {row[0]}: no key {key}'


@pytest.mark.parametrize('row', [row for row in ROWS if configs(row)], ids=lambda row: row[0])
def test_configs_set_the_argument(row):
    """Each config differs from the default in one of the arguments, or keys, that its row names."""
    base = Config.fromfile(ROOT / 'configs' / 'stt_r18_ytv.py').to_dict()
    for name in configs(row):
        changed = load(name)
        if row[0] == '33':
            continue
        differs = any(
            [holder.get(argument) for holder in holders(changed, cls)]
            != [holder.get(argument) for holder in holders(base, cls)]
            for cls, argument in classes(row)
        )
        keys = [text for text in code(row[5]) if KEY.match(text)]
        differs |= any(lookup(changed, key) != lookup(base, key) for key in keys)
        assert differs, f'row {row[0]}: {name} changes none of {row[5]}'


def lookup(config, key):
    for part in key.split('.'):
        config = config[part]
    return config


def test_every_numbered_ablation_is_in_its_row():
    """A config that says "Difference 9", and a variant that does, stand in row 9."""
    numbered = dict(VARIANTS)
    for path in sorted((ROOT / 'configs' / 'ablations').glob('*.py')):
        first = path.read_text(encoding='utf-8').splitlines()[0]
        numbered[path.name] = (re.findall(r'\d+', ''.join(re.findall(r'^# Differences? [\d and]+', first))), None)
    assert len(VARIANTS) == 30
    for name, (numbers, _) in numbered.items():
        for number in filter(None, numbers):
            assert name in configs(ROWS[int(number) - 1]), f'{name}: row {number}'


def test_default_column_is_the_default():
    """Values that the page calls "other" are not those of the main config or of the constructor."""
    init_default_scope('stt_mm')
    config = Config.fromfile(ROOT / 'configs' / 'stt_r18_ytv.py').to_dict()
    for row in ROWS:
        for name, argument, rest in re.findall(r'`([A-Z]\w+)\.(\w+)`: ((?:`[^`]+`(?: \([^)]*\))?(?:, )?)+)', row[5]):
            for text in code(rest):
                values = [
                    holder.get(argument, inspect.signature(find(name).__init__).parameters[argument].default)
                    for holder in holders(config, name)
                ]
                other = {'None': None, 'True': True, 'False': False}.get(text, text.strip("'"))
                if argument != 'init_cfg':
                    assert values, f'{name} is not in the main config'
                assert all(value != other for value in values), f'row {row[0]}: {name}.{argument} is {other} already'


def test_every_reading_of_liir_has_its_switch():
    """Variants and rows of its page; each variant stands where it says."""
    page = pages()['liir']
    assert [row[0] for row in LIIR_ROWS] == [f'L{number}' for number in range(1, 29)]
    assert all(len(row) == 6 and all(row) for row in LIIR_ROWS)
    variants = dict(re.findall(r'^\| `(\w+)`: (L\d[L\d, ]*): ', page.partition('| variant |')[2], re.MULTILINE))
    rows = set(re.findall(r'^\| (liir-[\w-]+) ', page, re.MULTILINE))
    switches = {row[0]: set(code(row[5])) for row in LIIR_ROWS}
    assert all(names or row[5] == 'none' for row, names in zip(LIIR_ROWS, switches.values(), strict=True))
    assert set().union(*switches.values()) <= variants.keys() | rows
    for name, numbers in variants.items():
        assert {number for number, names in switches.items() if name in names} == set(numbers.split(', ')), name


def test_rows_name_lines_of_the_table_of_liir():
    """What a row of the paper's tables says is ours is on this page."""
    named = set(re.findall(r'\bL\d+\b', pages()['liir']))
    assert len(named) > 20
    assert named <= {row[0] for row in LIIR_ROWS}
