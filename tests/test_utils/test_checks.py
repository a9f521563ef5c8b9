import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from stt_mm.utils.checks import checked_fields


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
    given = dict(count=np.int64(7), share=np.float32(0.25), fast=np.bool_(True), kind=np.int32(2), top=np.uint8(1),
                 size=[np.int64(6), 7], sizes=[1.5, np.float64(2)])
    found = checked_fields(Settings(**given), 'Settings')
    assert found == dict(name='a', count=7, share=0.25, fast=True, kind=2, top=1, size=(6, 7), sizes=(1.5, 2.0))
    assert {type(value) for value in (*found.values(), *found['size'], *found['sizes'])} == {str, int, float, bool,
                                                                                           tuple}


@pytest.mark.parametrize(('field', 'value'), [
    ('name', 3), ('name', None), ('count', 2.0), ('count', True), ('count', '3'), ('share', float('nan')),
    ('share', float('inf')), ('share', True), ('share', '0.5'), ('fast', 1), ('fast', None), ('kind', 2.0),
    ('kind', 'min'), ('top', 1.5), ('top', 'one'), ('size', (4, )), ('size', (4, 5, 6)), ('size', (4, 5.0)),
    ('size', 4), ('sizes', ('a', )), ('sizes', (1.0, None)),
])
def test_a_field_of_another_type_is_named(field, value):
    with pytest.raises(ValueError, match=f'^Settings: {field} must be .*, got {re.escape(repr(value))}'):
        checked_fields(Settings(**{field: value}), 'Settings')


def test_integers_are_floats():
    assert checked_fields(Settings(share=1, sizes=[1, 2]), 'Settings')['sizes'] == (1, 2)
