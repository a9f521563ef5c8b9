"""Bounds that hold for the numbers a machine computes, however they round."""

import shutil

import pytest
import torch
from torch.testing import assert_close

from stt_mm.ops import Plan, Vote, Voters, Window, propagate_many
from stt_mm.ops.bounded import BoundedSearch
from stt_mm.ops.native import COMPILERS

pytestmark = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason='there is no C compiler')


@pytest.mark.parametrize('channels', [256, 2048, 8192])
def test_sums_that_are_rounded_up_at_each_step(channels):
    """Equal numbers, of which a sum of many is too large: of the squared norm too little is left for the rest."""
    direction = torch.full((channels,), channels**-0.5)
    sizes = torch.linspace(0.5, 2, 2000)
    rows = (sizes[:, None] * direction)[None, :, None]
    search = BoundedSearch(rows[0, :1, 0], rows, [0], Plan((1, 1), [None], 8), direction[:, None])
    short = search._tensors['shorts'].transpose(2, 3).flatten(0, 2)[: len(sizes), 0].double()
    along = sizes[(short / (rows[0, :, 0].double() @ direction.double())).argmax()] * direction
    rest = torch.zeros(channels)
    rest[0], rest[1] = 0.005, -0.005
    for factor in (0.5, 2, 8, 32):
        query, best = along + rest, along + factor * rest
        scores = [float(query.double() @ key.double()) for key in (best, along)]
        other = along * (1 + 0.9 * (scores[0] / scores[1] - 1))  # nearly as good, and seen first
        search = BoundedSearch(
            query.expand(2, -1),
            torch.stack([best, other])[:, None, None],
            [0],
            Plan((2, 1), [None], 8),
            direction[:, None],
        )
        found = search.best(None, [True], 1)
        assert_close(found.scores[:, 0].double(), torch.tensor([scores[0]] * 2).double(), rtol=1e-6, atol=0)
        assert found.index.tolist() == [[0], [0]]


def test_squares_too_small_for_a_float():
    size = 1e-30
    generator = torch.Generator().manual_seed(0)
    query, keys = torch.randn(100, 9, 12, generator=generator), size * torch.randn(2, 100, 9, 12, generator=generator)
    labels = torch.rand(2, 1, 9, 12, generator=generator)
    plan, vote = Plan((9, 12), [Window('square', 3)], 8), Vote('topk', size, 5)
    query[31:] *= 0.1  # near a subspace
    ours, expected = (
        propagate_many(query, keys, [Voters(labels, [[1, 1]])], plan, vote, bounds=b) for b in (True, False)
    )
    assert_close(ours, expected, rtol=0, atol=1e-5)
