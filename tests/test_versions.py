"""The versions that setup.py allows are those that are tested."""

import re
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYTHONS = ('3.10', '3.11', '3.12', '3.13')


@pytest.fixture
def declared(monkeypatch):
    """What setup.py says, the arguments of ``setup``."""
    arguments = {}
    monkeypatch.setattr(setuptools, 'setup', arguments.update)
    path = ROOT / 'setup.py'
    exec(compile(path.read_text(encoding='utf-8'), path, 'exec'), dict(__file__=str(path)))
    return arguments


@pytest.fixture
def required(declared):
    """Name to requirement, of the package and of its tests."""
    found = [Requirement(text) for text in (*declared['install_requires'], *declared['extras_require']['tests'])]
    return {canonicalize_name(one.name): one for one in found}


def pins(name, python):
    """Name to the versions that a file asks for under a version of Python."""
    found = {}
    for line in (ROOT / 'requirements' / name).read_text(encoding='utf-8').splitlines():
        if line and not line.startswith('#'):
            one = Requirement(line)
            versions = found.setdefault(canonicalize_name(one.name), [])
            if one.marker is None or one.marker.evaluate(dict(python_version=python)):
                (pin,) = one.specifier
                assert pin.operator == '=='
                versions.append(Version(pin.version))
    return found


def test_the_minimum_is_every_lower_bound(required):
    bounds = {}
    for name, one in required.items():
        lower = [Version(part.version) for part in one.specifier if part.operator == '>=']
        assert len(lower) == 1, f'{name} has no lower bound'
        bounds[name] = lower
    assert pins('minimum.txt', '3.10') == bounds


@pytest.mark.parametrize('python', PYTHONS)
def test_the_tested_set_has_one_version_of_each_package_and_is_allowed(required, python):
    tested = pins('constraints.txt', python)
    assert {name for name, versions in tested.items() if len(versions) != 1} == set()
    assert set(required) <= set(tested)
    assert [name for name, one in required.items() if not one.specifier.contains(tested[name][0])] == []


def test_supported_versions_of_python_are_said_alike(declared):
    assert declared['python_requires'] == f'>={PYTHONS[0]}'
    script = (ROOT / 'tools' / 'environment.sh').read_text(encoding='utf-8')
    assert f"PYTHONS='{' '.join(reversed(PYTHONS))}'" in script
    for page in ('docs/install.md', 'CONTRIBUTING.md'):
        text = (ROOT / page).read_text(encoding='utf-8')
        assert re.search(rf'^Python {PYTHONS[0]} to {PYTHONS[-1]}\.', text, re.MULTILINE), page


def test_the_next_minor_version_of_mmengine_is_not_taken(required):
    """Names of it that are private are used."""
    assert required['mmengine'].specifier.contains('0.10.99')
    assert not required['mmengine'].specifier.contains('0.11.0')
