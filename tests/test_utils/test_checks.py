import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
import pytest
import torch

from stt_mm.utils.checks import (
    check_choice,
    check_count,
    check_number,
    check_value,
    checked_fields,
    fits,
    in_words,
    similar,
    usable_device,
)


@dataclass
class Settings:
    name: str = 'a'
    count: int = 3
    share: float = 0.5
    fast: bool = False
    kind: Literal['max', 2] = 'max'
    top: int | None = None
    size: tuple[int, int] = (4, 5)
    sizes: tuple[float, ...] = ()


def test_all_fields_come_back_as_plain_values():
    assert checked_fields(Settings(), 'Settings') == vars(Settings())
    given = dict(
        count=np.int64(7),
        share=np.float32(0.25),
        fast=np.bool_(True),
        kind=np.int32(2),
        top=np.uint8(1),
        size=[np.int64(6), 7],
        sizes=[1.5, np.float64(2)],
    )
    found = checked_fields(Settings(**given), 'Settings')
    assert found == dict(name='a', count=7, share=0.25, fast=True, kind=2, top=1, size=(6, 7), sizes=(1.5, 2.0))
    assert {type(value) for value in (*found.values(), *found['size'], *found['sizes'])} == {
        str,
        int,
        float,
        bool,
        tuple,
    }


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('name', 3),
        ('name', None),
        ('count', 2.0),
        ('count', True),
        ('count', '3'),
        ('share', float('nan')),
        ('share', float('inf')),
        ('share', True),
        ('share', '0.5'),
        ('fast', 1),
        ('fast', None),
        ('kind', 2.0),
        ('kind', 'min'),
        ('top', 1.5),
        ('top', 'one'),
        ('size', (4,)),
        ('size', (4, 5, 6)),
        ('size', (4, 5.0)),
        ('size', 4),
        ('sizes', ('a',)),
        ('sizes', (1.0, None)),
        ('count', np.array(3)),
        ('name', Settings),
        ('sizes', (1.0, int)),
    ],
)
def test_a_field_of_another_type_is_named(field, value):
    with pytest.raises(ValueError, match=f'^Settings: {field} must be .*, got {re.escape(repr(value))}'):
        checked_fields(Settings(**{field: value}), 'Settings')


def test_integers_are_floats():
    assert checked_fields(Settings(share=1, sizes=[1, 2]), 'Settings')['sizes'] == (1, 2)


@pytest.mark.parametrize(
    ('value', 'limits', 'words'),
    [
        (0, dict(above=0), 'positive'),
        (1, dict(above=1), 'above 1'),
        (0.9, dict(least=1), '1 or larger'),
        (2.1, dict(most=2), 'at most 2'),
        (3, dict(least=1, most=2), '1 or larger and at most 2'),
        (0, dict(above=0, most=1), 'positive and at most 1'),
    ],
)
def test_numbers_out_of_their_range_are_told_it(value, limits, words):
    with pytest.raises(ValueError, match=f'^size must be {words}, got {value}'):
        check_number('size', value, **limits)


@pytest.mark.parametrize(
    ('value', 'limits'),
    [
        (1, dict(least=1)),
        (2, dict(most=2)),
        (1e-9, dict(above=0)),
        (1.5, dict(above=1)),
        (-1e300, {}),
        (np.float32(0.5), dict(least=0, most=1)),
        (np.int64(3), dict(least=3, most=3)),
    ],
)
def test_numbers_up_to_their_limits(value, limits):
    check_number('size', value, **limits)


@pytest.mark.parametrize('value', [True, np.bool_(False), '1', None, 1j, float('nan'), float('inf')])
def test_what_is_no_number(value):
    with pytest.raises(ValueError, match='size must be a finite number'):
        check_number('size', value)


@pytest.mark.parametrize(
    ('value', 'least', 'fine'),
    [
        (1, 1, True),
        (0, 1, False),
        (0, 0, True),
        (-1, 0, False),
        (np.int64(2), 2, True),
        (2.0, 1, False),
        (True, 1, False),
    ],
)
def test_counts(value, least, fine):
    if fine:
        check_count('frames', value, least)
    else:
        with pytest.raises(ValueError, match=f'frames must be a whole number of at least {least}, got'):
            check_count('frames', value, least)
    with pytest.raises(ValueError, match='at least 1, got 0'):
        check_count('frames', 0)


@pytest.mark.parametrize(
    ('value', 'hint', 'expected'),
    [
        (1, int, True),
        (1, float, True),
        (1.5, int, False),
        (True, int, False),
        (float('inf'), float, False),
        ('a', str, True),
        ('a', object, True),
        ('a', int, False),
        ('a', Sequence[str], False),
        (None, None | int, True),
        (None, int, False),
        ([1, 2], tuple[int, int], True),
        ([1, 2, 3], tuple[int, int], False),
        ((1, 'a'), tuple[int, str], True),
        ((1, 2), tuple[int, str], False),
        ([], tuple[int, ...], True),
        ([1, 'a'], tuple, True),
        ([1, 'a'], tuple[int, ...], False),
        ([1, 2], list[int], True),
        ([1, 'a'], list[int], False),
        ([1, 'a'], list, True),
        ((1, 2), Sequence[int], True),
        ([1], int, False),
        ([1], dict, False),
        (dict(a=1), dict, True),
        (dict(a=1), str, False),
        (dict(a=1), list, False),
        (dict(a=1), Settings, True),
        (1, bool, False),
        (True, bool, True),
        (2, Literal[1, 2], True),
        (True, Literal[1], False),
        (2.0, Literal[2], False),
        (3, Literal[1, 2] | None, False),
        (1, Any, True),
        (Settings(), int, True),
    ],
)
def test_values_that_are_of_a_type(value, hint, expected):
    assert fits(value, hint) is expected


@pytest.mark.parametrize(
    ('hint', 'words'),
    [
        (int, 'an integer'),
        (float, 'a finite number'),
        (bool, 'True or False'),
        (str, 'text'),
        (int | None, 'an integer or None'),
        (Literal['a', 2], "one of 'a', 2"),
        (tuple[int, float], r'(an integer, a finite number)'),
        (tuple[int, ...], '(an integer, ...)'),
        (list[int], '[an integer, ...]'),
        (Sequence, 'a list'),
        (dict, 'a dict'),
        (Settings, 'Settings'),
    ],
)
def test_types_in_words(hint, words):
    assert in_words(hint) == words


def test_names_that_may_have_been_meant():
    assert similar('strid', ['stride', 'strides', 'top']) == " (did you mean 'stride' or 'strides'?)"
    assert similar('strid', ['stride', 'strides', 'strida']).count("'") == 4, 'two at most'
    assert similar('x', ['stride', 'top']) == ''
    with pytest.raises(ValueError, match=r"kind must be one of 'a', 2, got 'b'"):
        check_choice('kind', 'b', ('a', 2))


class Part(TypedDict, total=False):
    depth: int
    parts: dict[str, float]


@pytest.mark.parametrize('hint', [Part, Part | None, None | Part])
def test_keys_of_dicts_are_looked_into(hint):
    check_value('net', dict(depth=3, parts=dict(a=1, b=2.5)), hint)
    check_value('net', {}, hint)
    for value, message in (
        (dict(dept=3), r"net has no key 'dept' \(did you mean 'depth'\?\)\. It may have depth, parts\."),
        (dict(depth=3.5), r'net\.depth must be an integer, got 3\.5'),
        (dict(parts=dict(a=1, b='x')), r"net\.parts\.b must be a finite number, got 'x'"),
        (dict(parts=3), r'net\.parts must be a dict, got 3'),
        (7, 'net must be .*a dict.*, got 7'),
    ):
        with pytest.raises(ValueError, match=message):
            check_value('net', value, hint)
    if hint is not Part:
        check_value('net', None, hint)


def test_devices_that_can_be_used(monkeypatch):
    assert usable_device('cpu') == usable_device(torch.device('cpu')) == torch.device('cpu')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert usable_device(None) == torch.device('cpu')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert usable_device(None) == torch.device('cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch, 'empty', lambda size, device: None)
    assert [str(usable_device(name)) for name in ('cuda', 'cuda:1')] == ['cuda', 'cuda:1']
    for name in ('cuda:2', 'meta', 'gpu'):
        with pytest.raises(ValueError, match=f"no device '{name}' .* PyTorch sees: cpu, cuda:0, cuda:1"):
            usable_device(name)


@pytest.mark.parametrize('name', ['meta', 'xpu', 'cuda:99', 'nothing', 'cpu:x'])
def test_devices_that_are_not_here(name):
    with pytest.raises(ValueError, match=f"no device '{name}' .* PyTorch sees: cpu"):
        usable_device(name)
