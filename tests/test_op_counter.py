"""The counter of device operations sees what would run on a GPU and what the host would wait for."""

import pytest
import torch
from op_counter import OpCounter
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException


@pytest.fixture
def counter():
    with OpCounter() as found:
        yield found


@pytest.mark.parametrize(
    ('code', 'what'),
    [
        (lambda x: x.new_tensor([1.0, 2.0]), 'a copy to the device'),
        (lambda x: torch.ones(3).to(x), 'a copy to the device'),
        (lambda x: torch.ones(3).to('cuda', non_blocking=True), 'a copy to the device'),
        (lambda x: x[0].copy_(torch.ones(4)), 'a copy to the device'),
        (lambda x: x.cpu(), 'a copy to the host'),
        (lambda x: x[:, [0, 2]], 'a copy to the device'),
        (lambda x: x[:, torch.tensor([0, 2])], 'an index lies on the host'),
        (lambda x: x.__setitem__([0, 2], 1.0), 'a copy to the device'),
        (lambda x: int(x.sum()), 'a number is asked for'),
        (lambda x: bool((x > 0).any()), 'a number is asked for'),
    ],
)
def test_what_the_host_waits_for_is_told_with_its_place(counter, code, what):
    code(torch.empty(3, 4, device='cuda'))
    # PyTorch 2.14 waits for more than one part of an index that is a list.
    wait = next(wait for wait in counter.waits if wait.startswith(f'{what}: tests/test_op_counter.py:'))
    assert wait in str(counter)


def test_views_are_no_operations_and_a_product_is_one(counter):
    a, b = torch.empty(3, 4, device='cuda'), torch.empty(3, 4, device='cuda')
    counter.reset()
    product = a @ b.T
    assert (counter.total, counter.waits) == (1, [])
    product.view(9)[1:4].unsqueeze(0).detach()
    assert counter.total == 1
    (torch.ones(4) * 2).sum()
    assert counter.total == 1, 'on the host'
    product * torch.tensor(2.0)
    assert (counter.total, counter.waits) == (2, []), 'a scalar of the host is an argument of the kernel'


def test_copies_from_pinned_memory_and_back_are_not_waited_for(counter):
    for batch in (counter.pin(torch.empty(2, 3)), torch.empty(2, 3).pin_memory(), torch.empty(2, 3, pin_memory=True)):
        assert batch.is_pinned()
        batch[1:].to('cuda', non_blocking=True).to('cpu', non_blocking=True)
        batch.copy_(torch.empty(2, 3, device='cuda'), non_blocking=True)
    assert (counter.copies, counter.waits) == (9, [])
    torch.empty(2, device='cuda').copy_(torch.empty(2), non_blocking=True)
    assert len(counter.waits) == 1


def test_an_index_of_bool_stops(counter):
    x = torch.empty(3, 4, device='cuda')
    with pytest.raises(DynamicOutputShapeException):
        x[:, torch.empty(4, dtype=torch.bool, device='cuda')]


def test_a_module_goes_to_the_device():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with OpCounter() as counter:
        counter.to_device(module)
        counter.reset()
        found = module(torch.empty(2, 3, 8, 8, device='cuda'))
    assert found.is_cuda
    assert counter.waits == []
    assert counter.ops['aten.convolution.default'] == 1
