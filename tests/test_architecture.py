"""Who may import whom, and what must not stand in the package."""

import ast
import dataclasses
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import stt_mm
from stt_mm.registry import ALL

PACKAGE = Path(__file__).parents[1] / 'stt_mm'
PURE = {'ops', 'protocols', 'evaluation.functional', 'utils', 'errors'}
ALLOWED = {
    'ops': set(),
    'utils': set(),
    'evaluation.functional': set(),
    'version': set(),
    'errors': set(),
    '': {'version'},
    'registry': {'utils'},
    'datasets': {'registry', 'utils'},
    'protocols': {'utils'},
    'models': {'registry', 'ops', 'protocols', 'utils'},
    'evaluation.metrics': {'registry', 'evaluation.functional', 'utils'},
    'evaluation': {'evaluation.functional', 'evaluation.metrics'},
    'visualization': {'registry', 'utils'},
    'engine': {'registry', 'utils'},
    'cli': {'utils', 'version'},
    'apis': {'registry', 'engine', 'models', 'ops', 'protocols', 'visualization', 'utils', 'version'},
    'app': {'', 'apis', 'engine', 'protocols', 'visualization', 'utils'},
}
FILES = sorted(PACKAGE.rglob('*.py'))


def layer(module):
    """Layer of a dotted module name below ``stt_mm``."""
    for name in sorted(ALLOWED, key=len, reverse=True):
        if name and (module == name or module.startswith(f'{name}.')):
            return name
    return ''


def module_name(path):
    parts = list(path.relative_to(PACKAGE).with_suffix('').parts)
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports(path):
    """Absolute names that a file imports, relative imports resolved."""
    package = ['stt_mm', *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            anchor = package[: len(package) - node.level + 1] if node.level else []
            yield '.'.join([*anchor, *([node.module] if node.module else [])])


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers(path):
    own = layer(module_name(path))
    for name in imports(path):
        if name.split('.')[0] == 'stt_mm':
            target = layer(name.partition('.')[2])
            allowed = {own, 'errors', *ALLOWED[own]}
            assert target in allowed, f'{path.name} ({own or "package"}) imports {name}'
        assert own not in PURE or name.split('.')[0] not in ('mmengine', 'mmcv', 'mmpretrain'), f'{own} imports {name}'


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_that_a_library_must_not_do(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 350
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f'assert in line {node.lineno}'
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != 'print', f'print in line {node.lineno}'
        if isinstance(node, ast.ImportFrom):
            assert node.names[0].name != '*', f'star import in line {node.lineno}'
        if isinstance(node, ast.FunctionDef) and node.name == '__init__':
            assert node.args.kwarg is None, f'**kwargs constructor in line {node.lineno}'
            defaults = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
            assert not any(isinstance(default, (ast.Dict, ast.List)) for default in defaults), 'mutable default'
        if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ('self', 'cls', 'ctx')]
            assert not untyped, f'{node.name} in line {node.lineno} does not type {untyped}'
            assert node.returns is not None, f'{node.name} in line {node.lineno} does not type what it returns'


# Where the shorter of two sequences is meant to decide: palettes, axes of a figure.
LENIENT = {'stt_mm/visualization/overlay.py': 1, 'tools/analysis/plot_losses.py': 1}


@pytest.mark.parametrize('folder', ['stt_mm', 'tools', 'demo'])
def test_sequences_that_belong_together_are_walked_strictly(folder):
    """A row too many or too few is an error, never dropped in silence."""
    root, found = PACKAGE.parent, {}
    for path in sorted((root / folder).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'zip':
                strict = {k.arg: getattr(k.value, 'value', None) for k in node.keywords}.get('strict')
                if strict is not True:
                    name = path.relative_to(root).as_posix()
                    found[name] = found.get(name, 0) + 1
    assert found == {name: count for name, count in LENIENT.items() if name.startswith(f'{folder}/')}


def test_pure_layers_run_where_mmengine_is_absent():
    code = (
        "import sys\nfor name in ('mmengine', 'mmcv', 'mmpretrain'): sys.modules[name] = None\n"
        'import stt_mm, stt_mm.ops, stt_mm.protocols, stt_mm.evaluation.functional, stt_mm.utils'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


HEAVY = ('mmpretrain', 'mmcv', 'torchvision', 'matplotlib', 'mmengine.runner', 'mmengine.model', 'sympy')


@pytest.mark.parametrize('module', ['apis', 'models.propagator', 'models.tracker', 'ops', 'protocols', 'visualization'])
def test_importing_what_inference_needs_brings_no_library_of_training(module):
    code = (
        f'import sys, stt_mm.{module}\nfound = [name for name in sys.modules if name.startswith({HEAVY})]\n'
        'assert not found, found[:5]'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


def test_inference_runs_where_the_libraries_of_training_are_absent():
    code = (
        "import sys\nfor name in ('mmpretrain', 'mmcv', 'torchvision', 'matplotlib', 'mmengine.runner', 'timm'):\n"
        '    sys.modules[name] = None\n'
        'import numpy as np\nfrom stt_mm.apis import FeatureExtractor, VideoPropagator\n'
        'video = [np.zeros((64, 64, 3), np.uint8)] * 3\nmask = np.eye(64, dtype=np.uint8)\nmask[8:40, 8:40] = 1\n'
        "for propagator in (VideoPropagator.from_pretrained('stt_r18_demo', 'cpu'),\n"
        "                   VideoPropagator('eval/davis_r18_s8', 'stt_r18_demo', 'cpu')):\n"
        '    assert len(list(propagator.stream(video, masks=mask))) == 3\n'
        "assert len(FeatureExtractor('stt_r18_demo', device='cpu')(video)) == 3"
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=300)


def test_every_registered_name_is_found_by_importing_it_alone():
    for registry in ALL:
        for name, kind in registry.module_dict.items():
            if kind.__module__.startswith('stt_mm.'):
                homes = [importlib.import_module(location) for location in registry._locations]
                assert any(getattr(home, name, None) is kind for home in homes), f'{registry.name} {name}'


@pytest.mark.parametrize('package', ['models', 'engine', 'utils'])
def test_lazy_packages_offer_what_they_say(package):
    module = importlib.import_module(f'stt_mm.{package}')
    modules = {found.name for found in pkgutil.iter_modules(module.__path__)}
    # A module of that name would take its place once it is imported.
    assert not modules & set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    assert dir(module) == sorted(module.__all__)
    with pytest.raises(AttributeError, match=f"'stt_mm.{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_importing_the_package_is_cheap_and_changes_nothing():
    code = (
        'import sys, warnings, logging, torch, mmengine, mmengine.runner, random\n'
        'state = (list(warnings.filters), logging.root.level, list(logging.root.handlers), torch.get_rng_state(),\n'
        '         random.getstate(), torch.load, torch.get_num_threads(), mmengine.runner.CheckpointLoader)\n'
        'before = set(sys.modules)\n'
        'import stt_mm\n'
        'after = (list(warnings.filters), logging.root.level, list(logging.root.handlers), torch.get_rng_state(),\n'
        '         random.getstate(), torch.load, torch.get_num_threads(), mmengine.runner.CheckpointLoader)\n'
        'equal = [torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(state, after)]\n'
        'assert all(equal), equal\n'
        "extra = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert extra == {'stt_mm'}, extra\n"
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


def test_records_that_are_handed_around_do_not_change():
    modules = [importlib.import_module(module.name) for module in pkgutil.walk_packages(stt_mm.__path__, 'stt_mm.')]
    records = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and value.__module__.startswith('stt_mm.')
        and not value.__name__.startswith('_')
    }
    assert len(records) > 8
    assert [record.__name__ for record in records if not record.__dataclass_params__.frozen] == []
