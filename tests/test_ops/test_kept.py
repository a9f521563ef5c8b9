"""What is kept between calls, and how it reaches the device."""

import torch
from op_counter import OpCounter

from stt_mm.ops import to_device, window_mask
from stt_mm.ops.devices import kept


def test_results_are_kept_per_arguments_and_the_oldest_goes():
    calls = []

    @kept(limit=2)
    def ones(size, device):
        calls.append(size)
        return torch.ones(size, device=device)

    first = ones(3, 'cpu')
    assert ones(3, 'cpu') is first
    assert ones(3, 'meta').device.type == 'meta'
    assert ones(3, 'cpu') is first
    assert calls == [3, 3]
    ones(4, 'cpu')
    assert ones(3, 'meta').shape == (3,)
    assert calls == [3, 3, 4]
    assert ones(3, 'cpu') is not first


def test_what_autograd_or_another_mode_could_not_use_is_not_kept():
    @kept(limit=2)
    def ones(size):
        return torch.ones(size)

    with torch.inference_mode():
        assert ones(3).is_inference()
    assert not ones(3).is_inference()
    with OpCounter():
        fake = ones(4)
        assert ones(4) is not fake
    assert type(ones(4)) is torch.Tensor


def test_a_window_mask_is_made_once_per_device_and_size():
    mask = window_mask(7, 5, 2)
    assert window_mask(7, 5, 2, torch.device('cpu')) is mask
    assert window_mask(height=7, width=5, radius=2) is mask
    assert window_mask(7, 5, 1) is not mask
    with torch.device('meta'):
        assert window_mask(7, 5, 2).is_meta
    assert not window_mask(7, 5, 2).is_meta


def test_an_upload_is_the_same_values_and_not_waited_for(device):
    values = torch.arange(5)
    found = to_device(values, torch.device(device))
    assert found.device.type == device
    assert found.tolist() == values.tolist()
    with OpCounter() as counter:
        assert to_device(torch.arange(5), torch.device('cuda')).is_cuda
        assert (counter.copies, counter.waits) == (1, [])
