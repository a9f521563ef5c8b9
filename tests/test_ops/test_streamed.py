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
        sizes = [leaf.numel() * leaf.element_size() for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
        self.bytes = max([self.bytes, *sizes])
        return found


def direct(query, keys, counted, scale):
    scores = scale * query.flatten(2).mT @ keys.T
    return scores.masked_fill(~counted[:, None], -math.inf).logsumexp(-1)


@pytest.mark.parametrize(('queries', 'size'), [(12, 16), (5, 20), (12, 99)])
def test_it_is_the_direct_one_with_its_gradient(queries, size, monkeypatch):
    """In parts that do not divide 12 queries and 70 keys, and in one; nothing of the first part counts for image 0."""
    monkeypatch.setattr(streamed, '_at_a_time', lambda query: (queries, size))
    query = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    keys, counted = torch.randn(70, 3, dtype=torch.float64) * 9, torch.rand(2, 70) > 0.3
    counted[0, :25] = False
    found, twin = (function(query, keys, counted, 0.6) for function in (streamed_log_sum_exp, direct))
    assert_close(found, twin, rtol=0, atol=1e-12)
    probe = torch.randn_like(twin)
    assert_close(*(torch.autograd.grad((probe * value).sum(), query)[0] for value in (found, twin)))


def test_in_float32_it_is_as_near_as_that_allows():
    query, keys = torch.randn(2, 256, 8, 8), torch.randn(300, 256)
    counted = torch.rand(2, 300) > 0.2
    assert_close(
        streamed_log_sum_exp(query, keys, counted, 1 / 16).double(),
        direct(query.double(), keys.double(), counted, 1 / 16),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize('scale', [1.0, 20.0, 1e4])
def test_without_any_key_it_is_minus_infinity_and_has_no_gradient(scale):
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
    """Those of one image of 64 x 64 cells with 5,760 points are 90 MiB; with few channels, scores are the largest.

    On a CPU they are few enough for its caches; on a GPU, as this one that has no memory, many go together.
    """
    query, keys = torch.zeros(batch, 4, 64, 64, requires_grad=True), torch.zeros(5760, 4)
    with Largest() as largest:
        streamed_log_sum_exp(query, keys, torch.ones(batch, 5760, dtype=torch.bool), 1.0).sum().backward()
    assert 2**19 < largest.bytes <= 2**20
    queries, size = streamed._at_a_time(query.to('meta').flatten(2).mT)
    assert queries == 4096
    assert 2**23 < 4 * batch * queries * size <= 2**24
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        streamed_log_sum_exp(query, keys, torch.ones(batch, 5760, dtype=torch.bool), 1.0)
    assert saved == [batch * 4096 * 4]
