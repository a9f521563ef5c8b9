"""Where tests run."""

import os
import subprocess
import sys

import torch
from mmengine.device import get_device

COUNT = 'import torch; print(torch.cuda.device_count())'


def seen_by_a_process():
    return int(subprocess.run([sys.executable, '-c', COUNT], capture_output=True, text=True, check=True).stdout)


def test_on_the_cpu_without_being_asked():
    assert get_device() == 'cpu'
    assert not torch.cuda.is_available()
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ''
    assert seen_by_a_process() == 0


def test_on_each_device_that_is_asked_for(device):
    """So is what a runner, ``--amp`` and other processes find."""
    assert get_device() == device
    assert torch.cuda.is_available() == (device == 'cuda')
    assert (os.environ.get('CUDA_VISIBLE_DEVICES') == '') == (device == 'cpu')
    assert torch.zeros(1, device=device).device.type == device
    assert (seen_by_a_process() > 0) == (device == 'cuda')
