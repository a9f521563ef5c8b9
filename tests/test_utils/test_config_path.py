"""Where configs are looked for: beside the package in a checkout, in it where it is installed."""

from pathlib import Path

import pytest

from stt_mm.utils import config_path as module
from stt_mm.utils.config_path import config_path

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('stt_r18_ytv', 'stt_r18_ytv.py'),
        ('stt_r18_ytv.py', 'stt_r18_ytv.py'),
        ('eval/davis_color', 'eval/davis_color.py'),
        ('davis_color', 'eval/davis_color.py'),
        ('joint_r18_ytv.py', 'continual/joint_r18_ytv.py'),
    ],
)
def test_configs_of_the_checkout(name, path):
    assert config_path(name) == ROOT / 'configs' / path


@pytest.mark.parametrize('place', ['configs', 'stt_mm/configs'])
def test_configs_in_either_place_and_a_list_of_them_where_there_is_none(tmp_path, monkeypatch, place):
    monkeypatch.setattr(module, 'PACKAGE', tmp_path / 'stt_mm')
    with pytest.raises(FileNotFoundError, match=r'no file a, .* Shipped configs: none found\.$'):
        config_path('a')
    for name in ('a.py', 'eval/b.py', '_base_/c.py', 'notes.txt'):
        (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place / name).touch()
    assert config_path('eval/b') == tmp_path / place / 'eval' / 'b.py'
    with pytest.raises(FileNotFoundError, match=r'no file c, .* Shipped configs: a, eval/b\.$'):
        config_path('c')
    with pytest.raises(FileNotFoundError, match=r'no file eval/bb, .* Similar: eval/b\.$'):
        config_path('eval/bb')
    monkeypatch.chdir(tmp_path)
    Path('bbb.py').touch()
    with pytest.raises(FileNotFoundError, match=r'no file bb, .* Similar: bbb\.py, eval/b\.$'):
        config_path('bb')


def test_a_file_that_is_named_goes_before_a_shipped_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('stt_r18_ytv.py').touch()
    assert config_path('stt_r18_ytv.py') == Path('stt_r18_ytv.py')
