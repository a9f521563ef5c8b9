"""Fixtures of all tests."""

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

# The bits of a result depend on the number of threads; the processes that tests start have one too.
torch.set_num_threads(1)


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
