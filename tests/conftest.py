"""Fixtures of all tests."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import config as mmengine_config
from mmengine.device import utils as mmengine_device
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

# The bits of a result depend on the number of threads; the processes that tests start have one too.
torch.set_num_threads(1)


# A test runs on the CPU, as do the processes that it starts, unless it asks for a device: only there are bits equal.
# Workers of xdist inherit what is hidden here, so it is noted what there was.
GPUS = os.environ.setdefault('GPUS_OF_TESTS', os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))
if GPUS != 'all':
    os.environ['CUDA_VISIBLE_DEVICES'] = GPUS
else:
    os.environ.pop('CUDA_VISIBLE_DEVICES', None)
find_gpus = torch.cuda.is_available
DEVICES = ['cpu']
if find_gpus():
    DEVICES.append(pytest.param('cuda', marks=pytest.mark.gpu))
    torch.cuda.init()  # from now on the variable is for other processes
    torch.cuda.device_count()
os.environ['CUDA_VISIBLE_DEVICES'] = ''
torch.cuda.is_available = lambda: False
mmengine_device.DEVICE = 'cpu'

# What is written outlives the process, and need not outlive the machine.
os.fsync = lambda handle: None

# A run lays the text of its config out anew for its log and for each checkpoint, in up to half a second.
layouts = {}
lay_out = mmengine_config.FormatCode


def laid_out(text: str, **style: object) -> tuple[str, bool]:
    if text not in layouts:
        layouts[text] = lay_out(text, **style)
    return layouts[text]


mmengine_config.FormatCode = laid_out

# How near to a result of the CPU one of a device is, whose sums are in another order.
TOLERANCES = dict(cpu=dict(rtol=1e-6, atol=1e-7), cuda=dict(rtol=1e-3, atol=1e-4))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``cpu``, and ``cuda`` where there is one; the test runs there, in full float32, as TF32 has three digits."""
    if request.param == 'cuda':
        monkeypatch.setattr(torch.cuda, 'is_available', find_gpus)
        monkeypatch.setattr(mmengine_device, 'DEVICE', 'cuda')
        if GPUS == 'all':
            monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
        else:
            monkeypatch.setenv('CUDA_VISIBLE_DEVICES', GPUS)
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    yield request.param
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def assert_near(device: str) -> Callable[..., None]:
    """``torch.testing.assert_close`` within the tolerances of the device, wherever the values lie."""
    return partial(torch.testing.assert_close, check_device=False, **TOLERANCES[device])


@pytest.fixture
def data() -> Path:
    """Folder of golden files."""
    return Path(__file__).parent / 'data'


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """The same random numbers for each test; no logger or message hub is left to it or to later fixtures."""
    torch.manual_seed(0)
    _forget()
    yield
    _forget()


def _forget() -> None:
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if 'device' in getattr(item, 'fixturenames', ()):
            item.add_marker('devices')
