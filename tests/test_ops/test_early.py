"""A gradient that is taken at once: the usual one, whatever happens before the backward pass."""

import pytest
import torch

from stt_mm.ops import early_gradient


def loss_of(value, queue):
    return 0.7 * torch.nn.functional.cross_entropy(value @ queue, torch.tensor([1, 0, 2], device=value.device))


@pytest.mark.parametrize('factor', [1, 2**16, 0.25])
def test_loss_and_gradient_are_those_of_autograd_to_the_bit(factor, device):
    value, queue = torch.randn(3, 4, device=device, requires_grad=True), torch.randn(4, 9, device=device)
    expected = loss_of(value, queue)
    (wanted,) = torch.autograd.grad(factor * expected, value)
    found = early_gradient(lambda x: loss_of(x, queue), value)
    queue.zero_()
    (factor * found).backward()
    assert torch.equal(found, expected)
    assert torch.equal(value.grad, wanted)


def test_what_is_in_the_way_gets_its_gradient_too():
    weight, given = torch.randn(4, 4, requires_grad=True), torch.randn(3, 4)
    queue = torch.randn(4, 9)
    (wanted,) = torch.autograd.grad(loss_of(given @ weight, queue), weight)
    early_gradient(lambda x: loss_of(x, queue), given @ weight).backward()
    assert torch.equal(weight.grad, wanted)


def test_nothing_is_needed_for_a_loss_alone():
    value, queue = torch.randn(3, 4), torch.randn(4, 9)
    with torch.no_grad():
        assert early_gradient(lambda x: loss_of(x, queue), value) == loss_of(value, queue)
    assert not early_gradient(lambda x: loss_of(x, queue), value).requires_grad
