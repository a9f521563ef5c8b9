from itertools import product

import pytest
import torch
from torch.testing import assert_close

from stt_mm.ops import add_squared, quadratic_penalty


def linear_gaussian():
    """Gradients of ``(y - w x) ** 2 / 2`` at the true w, for every sample of a small world.

    x = (+-1, +-2, +-3) and y = w x + e with e = +-1, all equally likely: the Fisher information of w is E[x x^T], whose
    diagonal is (1, 4, 9).
    """
    weight = torch.tensor([0.3, -1.2, 0.5])
    for signs in product((-1, 1), repeat=4):
        x = torch.tensor(signs[:3]) * torch.tensor([1.0, 2.0, 3.0])
        y = weight @ x + signs[3]
        w = weight.clone().requires_grad_()
        yield torch.autograd.grad((y - w @ x).square() / 2, w)[0]


def test_mean_of_squares_is_the_fisher_information_of_a_linear_model():
    sums = dict(w=torch.zeros(3, dtype=torch.float64))
    gradients = list(linear_gaussian())
    for gradient in gradients:
        add_squared(sums, dict(w=gradient))
    assert_close(sums['w'] / len(gradients), torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64), rtol=1e-6, atol=0)


def test_a_parameter_without_gradient_has_no_information():
    sums = dict(w=torch.zeros(2))
    add_squared(sums, dict(w=None))
    assert sums['w'].tolist() == [0, 0]


def test_penalty_is_quadratic_around_its_reference():
    torch.manual_seed(0)
    reference = dict(a=torch.randn(3, 4), b=torch.randn(5))
    fisher = {name: torch.rand(value.shape) for name, value in reference.items()}
    step = {name: torch.randn(value.shape) for name, value in reference.items()}

    def at(scale):
        moved = {name: (value + scale * step[name]).requires_grad_() for name, value in reference.items()}
        penalty = quadratic_penalty(moved, reference, fisher)
        return penalty, torch.autograd.grad(penalty, list(moved.values()))

    penalty, gradients = at(0.0)
    assert penalty == 0
    assert all(not gradient.any() for gradient in gradients)
    once, slopes = at(1.0)
    twice, steeper = at(2.0)
    expected = sum((fisher[name].double() * step[name].double() ** 2).sum() for name in step) / 2
    assert once.item() == pytest.approx(expected.item(), rel=1e-6)
    assert twice.item() == pytest.approx(4 * once.item(), rel=1e-5)
    for name, slope, double in zip(reference, slopes, steeper, strict=True):
        assert_close(slope, fisher[name] * step[name], rtol=1e-4, atol=1e-5)
        assert_close(double, 2 * slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_the_penalty_is_computed_in_single_precision(dtype):
    theta = torch.randn(5).half()
    reference, fisher = torch.randn(5), torch.rand(5)
    found = quadratic_penalty(dict(a=theta.to(dtype)), dict(a=reference), dict(a=fisher))
    assert found.dtype == torch.float32
    assert torch.equal(found, quadratic_penalty(dict(a=theta.float()), dict(a=reference), dict(a=fisher)))
