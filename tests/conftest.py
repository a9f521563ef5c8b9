"""Fixtures of all tests."""

from pathlib import Path

import pytest
import torch


@pytest.fixture
def data() -> Path:
    """Folder of golden files."""
    return Path(__file__).parent / 'data'


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
