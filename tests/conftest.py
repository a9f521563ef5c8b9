"""Fixtures of all tests."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

# The bits of a result depend on the number of threads; the processes that tests start have one too.
torch.set_num_threads(1)


# The devices that are there, and how near to a result of the CPU theirs are, whose sums are in another order.
DEVICES = ['cpu', *([pytest.param('cuda', marks=pytest.mark.gpu)] if torch.cuda.is_available() else [])]
TOLERANCES = dict(cpu=dict(rtol=1e-5, atol=1e-6), cuda=dict(rtol=1e-3, atol=1e-4))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``cpu``, and ``cuda`` where there is one, in full float32: TF32 has three digits."""
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
def _fresh() -> None:
    """The same random numbers for each test, and no logger or message hub that an earlier one left."""
    torch.manual_seed(0)
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()
