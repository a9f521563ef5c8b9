"""The log-sum-exp over negatives: that of all at once, from a few at a time."""

import math

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stt_mm.ops import streamed, streamed_log_sum_exp


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
        self.bytes = max([self.bytes, *sizes])
        return found


def direct(query, keys, counted, scale):
    scores = scale * query.flatten(2).mT @ keys.T
    return scores.masked_fill(~counted[:, None], -math.inf).logsumexp(-1)


@pytest.fixture(params=['attention', 'streamed'])
def way(request, monkeypatch):
    """What a CPU does, and what other devices do."""
    if request.param == 'streamed':
        monkeypatch.setattr(streamed, '_attended', streamed._streamed)
    return request.param


@pytest.mark.parametrize('size', [16, 99, 2000])
def test_it_is_the_direct_one_with_its_gradient(size, way, monkeypatch):
    """Also in parts that do not divide 1,400 keys; nothing of the first parts counts for image 0."""
    monkeypatch.setattr(streamed, 'SCORES', size * 24)
    query = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    keys, counted = torch.randn(1400, 3, dtype=torch.float64) * 9, torch.rand(2, 1400) > 0.3
    counted[0, :600] = False
    found, twin = (function(query, keys, counted, 0.6) for function in (streamed_log_sum_exp, direct))
    assert_close(found, twin, rtol=0, atol=1e-12)
    probe = torch.randn_like(twin)
    assert_close(*(torch.autograd.grad((probe * value).sum(), query)[0] for value in (found, twin)))


@pytest.mark.parametrize('spread', [1, 30])
def test_in_float32_it_is_as_near_as_that_allows(spread, way):
    query, keys = torch.randn(2, 256, 8, 80, requires_grad=True), spread * torch.randn(1300, 256)
    counted = torch.rand(2, 1300) > 0.2
    found = streamed_log_sum_exp(query, keys, counted, 1 / 16)
    exact = query.detach().double().requires_grad_()
    twin = direct(exact, keys.double(), counted, 1 / 16)
    assert_close(found.double(), twin, rtol=1e-6, atol=1e-6)
    found.sum().backward()
    twin.sum().backward()
    assert_close(query.grad.double(), exact.grad, rtol=1e-4, atol=1e-5 * spread)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_digits(dtype, way):
    query, keys = torch.randn(2, 16, 3, 4, dtype=dtype, requires_grad=True), torch.randn(900, 16, dtype=dtype)
    counted = torch.rand(2, 900) > 0.3
    counted[0, :600] = False
    found = streamed_log_sum_exp(query, keys, counted, 0.25)
    assert_close(found.double(), direct(query.detach().double(), keys.double(), counted, 0.25), rtol=0.03, atol=0)
    found.sum().backward()
    assert query.grad.isfinite().all()


@pytest.mark.parametrize('scale', [1.0, 20.0, 1e4])
def test_without_any_key_it_is_minus_infinity_and_has_no_gradient(scale, way):
    query = torch.randn(2, 3, 2, 2, requires_grad=True)
    counted = torch.tensor([[False, False], [True, False]])
    found = streamed_log_sum_exp(query, torch.randn(2, 3), counted, scale)
    assert (found[0] == -math.inf).all()
    assert found[1].isfinite().all()
    assert torch.autograd.grad(found[1].sum(), query, retain_graph=True)[0][1].any()
    (0.5 - found).sigmoid().sum().backward()
    assert not query.grad[0].any()
    assert query.grad.isfinite().all()


@pytest.mark.parametrize('batch', [1, 6])
def test_the_scores_of_a_batch_stay_below_32_mib(batch):
    """Those of one image of 64 x 64 cells with 5,760 points are 90 MiB; with few channels, scores are the largest."""
    query, keys = torch.zeros(batch, 4, 64, 64, requires_grad=True), torch.zeros(5760, 4)
    counted = torch.ones(batch, 5760, dtype=torch.bool)
    with torch.profiler.profile(profile_memory=True) as profile:
        streamed_log_sum_exp(query, keys, counted, 1.0).sum().backward()
    # Of a CPU, all that is made; fewer scores than its caches hold.
    made = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == '[memory]']
    assert 2**19 < max(made) <= 2**21
    with Largest() as largest:
        streamed._streamed(query.detach().flatten(2).mT, keys, torch.zeros(batch, 5760), 1.0)
    assert 2**23 < largest.bytes <= 2**24
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        streamed_log_sum_exp(query, keys, counted, 1.0)
    assert saved == [batch * 4096 * 4]
