import io
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch import nn

from stt_mm.engine import from_plain, to_plain


def reload(value):
    """Through a file that only plain data survives."""
    with io.BytesIO() as buffer:
        torch.save(value, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)


def test_history_buffer_survives_a_safe_file_and_goes_on():
    buffer = HistoryBuffer(max_length=5)
    for value in (1, 2.5, -3.0, float('inf'), 7, 8):
        buffer.update(value, count=2)
    restored = from_plain(reload(to_plain({'log_scalars': OrderedDict(loss=buffer)})))['log_scalars']['loss']
    assert isinstance(restored, HistoryBuffer)
    for before, after in zip(buffer.data, restored.data, strict=True):
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)
    restored.update(9.0)
    assert restored.data[0].tolist() == [-3.0, float('inf'), 7, 8, 9]


@pytest.mark.parametrize('dtype', ['uint8', 'uint32', 'uint64', 'float32', 'bool', '<U3'])
def test_arrays_come_back_with_type_and_shape(dtype):
    array = np.arange(6).astype(dtype).reshape(2, 3)
    restored = from_plain(reload(to_plain([array])))[0]
    assert restored.dtype == array.dtype
    assert np.array_equal(restored, array)


def test_other_kinds_become_plain_without_touching_the_argument():
    given = dict(a=np.float64(0.5), b=ConfigDict(c=(np.int64(3), Path('x/y'))), d={np.int32(1): None}, e=torch.float16)
    plain = reload(to_plain(given))
    assert plain == dict(a=0.5, b=dict(c=(3, 'x/y')), d={1: None}, e=torch.float16)
    assert type(plain['a']) is float
    assert type(given['a']) is np.float64
    assert isinstance(given['b'], ConfigDict)


def test_state_dict_keeps_layer_versions():
    state = nn.BatchNorm2d(2).state_dict()
    plain = reload(to_plain(state))
    assert plain._metadata == state._metadata
    assert list(plain) == list(state)


@pytest.mark.parametrize('thing', [object(), {1, 2}, len, np.array([object()])])
def test_what_cannot_be_plain_is_named_by_its_key(thing):
    with pytest.raises(TypeError, match=r'meta\.deep\[1\].*cannot hold'):
        to_plain(dict(deep=[0, thing]), 'meta')


def test_importing_the_engine_changes_nothing_in_mmengine():
    code = (
        'import torch, mmengine.hooks, mmengine.dist as d\n'
        'from mmengine.runner import Runner as R\n'
        'from mmengine.runner.checkpoint import CheckpointLoader as L\n'
        'from mmengine.registry import HOOKS\n'
        'def look():\n'
        '    return torch.load, dict(L._schemes), d.init_dist, HOOKS.get("CheckpointHook"), vars(R).copy()\n'
        'before = look()\n'
        'import stt_mm, stt_mm.engine\n'
        'assert before == look()\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
