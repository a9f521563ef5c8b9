import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from twins import propagate_dense

from stt_mm.ops import propagate


@settings(deadline=None, max_examples=40)
@given(frames=st.integers(1, 4), height=st.integers(1, 19), width=st.integers(1, 19), radius=st.integers(0, 6),
       topk=st.integers(1, 40), classes=st.integers(1, 4), seed=st.integers(0, 999))
def test_propagation_equals_the_dense_form(frames, height, width, radius, topk, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    query = F.normalize(torch.randn(6, height, width, generator=generator, dtype=torch.float64), dim=0)
    keys = F.normalize(torch.randn(frames, 6, height, width, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.rand(frames, classes, height, width, generator=generator, dtype=torch.float64)
    ours = propagate(query, keys, labels, radius, topk, 0.07)
    assert_close(ours, propagate_dense(query, keys, labels, radius, topk, 0.07), rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', ['square_r12_s8like', 'square_odd_range7', 'no_l2'])
def test_golden(name, data):
    golden = np.load(data / f'propagate_{name}.npz')
    params = json.loads(str(golden['params']))
    query, keys, labels = (torch.from_numpy(golden[field]) for field in ('query', 'keys', 'labels'))
    if params['l2_normalise']:
        query, keys = F.normalize(query, dim=0), F.normalize(keys, dim=1)
    out = propagate(query, keys, labels, params['neighbor_range'] // 2, params['topk'], params['temperature'])
    assert_close(out, torch.from_numpy(golden['out']), rtol=0, atol=1e-5)


def test_a_label_follows_a_shifted_frame():
    frame, label = F.normalize(torch.randn(16, 12, 12), dim=0), torch.zeros(2, 12, 12)
    label[1, 4:7, 5:8] = 1
    label[0] = 1 - label[1]
    moved = torch.roll(frame, (2, 1), (1, 2))
    out = propagate(moved, frame[None], label[None], radius=3, topk=1, temperature=0.07)
    inner = (..., slice(3, -3), slice(3, -3))
    assert torch.equal(out[inner], torch.roll(label, (2, 1), (1, 2))[inner])


def test_each_copy_of_a_frame_takes_its_own_places():
    query = torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, 1, 3).contiguous()
    near = torch.tensor([[1.0, 0.9, 0.8], [0.0, 0.4, 0.6]]).view(1, 2, 1, 3)
    labels = torch.tensor([[1.0, 0.0, 0.0]]).view(1, 1, 1, 3)
    once = propagate(query, near, labels, radius=2, topk=2, temperature=1.0)
    twice = propagate(query, near.repeat(2, 1, 1, 1), labels.repeat(2, 1, 1, 1), radius=2, topk=2, temperature=1.0)
    assert once.max() < 1
    assert_close(twice, torch.ones(1, 1, 3))


def test_bad_arguments_are_named():
    feature, label = torch.zeros(2, 3, 3), torch.zeros(1, 1, 3, 3)
    with pytest.raises(ValueError, match=r'\(2, 3, 3\), \(1, 2, 3, 4\)'):
        propagate(feature, torch.zeros(1, 2, 3, 4), label, 1, 1, 1.0)
    with pytest.raises(ValueError, match='topk >= 1'):
        propagate(feature, feature[None], label, 1, 0, 1.0)
