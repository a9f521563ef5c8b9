"""Everything that an operation makes for itself lies on the device of its input, and the result is that of the CPU.

PyTorch's ``meta`` device has shapes and no numbers, and refuses to be mixed with the CPU; it stands for a GPU here.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

from stt_mm import ops
from stt_mm.models import AffinityLoss, LocalCorrelationHead, ReconstructionLoss
from stt_mm.models.memory_bank import MemoryBank
from stt_mm.registry import MODELS


def meta(*shape, dtype=torch.float32):
    return torch.zeros(*shape, dtype=dtype, device='meta')


def propagated(window, global_copies=(1, 0, 0), together=1, border='excluded', **changes):
    keys, labels, vote = meta(3, 4, 6, 9), meta(3, 2, 6, 9), ops.Vote(topk=5, **changes)
    return ops.propagate(
        meta(4, 6, 9), keys, labels, window, vote, [1, 0, 2], global_copies, border, tile=4, together=together
    )


def found_again(**changes):
    plan = ops.Plan((6, 9), [ops.Window('square', 2), ops.LongSearch(2, 3, 2, 'last')], 4, 3, meta(1).device, 2)
    voters = [ops.Voters(meta(3, 2, 10, 13), ([1, 0, 1], [0, 1, 0]))]
    return ops.propagate_many(meta(4, 6, 9), meta(3, 4, 10, 13), voters, plan, ops.Vote(**changes))[0]


def selected(source):
    head = LocalCorrelationHead(dict(type='AffinityLoss'), source=source, selection='per_image')
    return head.select(meta(2, 4, 6, 9), meta(2, 4, 6, 9), meta(2, 54, 25))


def enqueued():
    bank = MemoryBank(8, 4).to('meta')
    bank.enqueue(meta(3, 4))
    return bank.queue


@pytest.mark.parametrize(
    ('operation', 'shape'),
    [
        (lambda: ops.rgb_to_lab(meta(2, 3, 4, 5)), (2, 3, 4, 5)),
        (lambda: ops.normalise_frames(meta(2, 3, 4, 5), 'rgb'), (2, 3, 4, 5)),
        (lambda: ops.local_affinity(meta(2, 4, 6, 9), meta(2, 4, 6, 9), 2, 1.0), (2, 54, 25)),
        (lambda: ops.reconstruct(meta(2, 54, 25), meta(2, 3, 6, 9)), (2, 3, 6, 9)),
        (lambda: ops.transitions(meta(2, 5, 4), meta(2, 6, 4), 0.1, 0.5), (2, 5, 6)),
        (lambda: ops.round_trips(meta(2, 3, 5, 4), 0.1, 0.5), (1, 2, 5, 5)),
        (lambda: ops.cut_patches(meta(2, 3, 8, 9), meta(2, 5, 4), (4, 6)), (2, 5, 3, 4, 6)),
        (lambda: ops.points_to_label(meta(5, 2), (32, 48), (32, 48), (4, 6), 'image'), (5, 4, 6)),
        (lambda: ops.points_to_label(meta(5, 2), (32, 48), (32, 48), (4, 6), 'grid'), (6, 4, 6)),
        (lambda: ops.label_to_points(meta(5, 4, 6), (32, 48), (32, 48), 'image'), (5, 2)),
        (lambda: ops.label_to_points(meta(5, 4, 6), (32, 48), (32, 48), 'grid'), (4, 2)),
        (lambda: ops.resize_mask_nearest(meta(8, 9, dtype=torch.uint8), (5, 7)), (5, 7)),
        (lambda: ops.label_to_mask([meta(2, 4, 6)], meta(2, dtype=torch.uint8), (8, 9), True)[0], (8, 9)),
        (lambda: propagated(ops.Window('square', 2)), (2, 6, 9)),
        (lambda: propagated(None), (2, 6, 9)),
        (lambda: propagated(ops.Window('square', 2), None, ties='kept'), (2, 6, 9)),
        (lambda: propagated(ops.Window('circle', 2), together=3), (2, 6, 9)),
        (lambda: propagated(ops.Window('square', 2), kind='softmax'), (2, 6, 9)),
        (lambda: propagated(ops.Window('square', 2), None, border='zero', kind='frame_softmax'), (2, 6, 9)),
        (lambda: propagated(ops.Window('square', 2), None, kind='compact', together=3), (2, 6, 9)),
        (lambda: found_again(kind='softmax'), (2, 6, 9)),
        (lambda: found_again(kind='compact', mass='peak', threshold=0.1), (2, 6, 9)),
        (lambda: selected('window'), (2, 54)),
        (lambda: selected('affinity'), (2, 54)),
        (enqueued, (4, 8)),
    ],
)
def test_the_result_lies_where_the_input_lies(operation, shape):
    found = operation()
    assert (found.device.type, tuple(found.shape)) == ('meta', shape)


NEW_NAMES = """
import torch
from stt_mm.ops.devices import full_float32
names = torch.backends.cudnn.conv, torch.backends.cuda.matmul
for backend, value in zip(names, ('ieee', 'tf32')):
    backend.fp32_precision = value
with full_float32():
    assert [backend.fp32_precision for backend in names] == ['ieee', 'ieee']
assert [backend.fp32_precision for backend in names] == ['ieee', 'tf32']
"""


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, 'conv'), reason='this PyTorch has the old names alone')
def test_full_float32_where_the_new_names_of_the_settings_are_used():
    """In a process of its own: afterwards nobody there can read the old names."""
    subprocess.run([sys.executable, '-c', NEW_NAMES], check=True, timeout=100)


def test_evaluation_is_in_full_float32_and_leaves_the_settings_as_they_were():
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    seen = []

    class Network(torch.nn.Module):
        stages = ('res4',)

        def forward(self, frames):
            seen.append([backend.allow_tf32 for backend in backends])
            return (frames[..., ::8, ::8],)

    model = MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=None,
            backbone=dict(type='stt_mm.ColorPatches'),
            propagator=dict(type='stt_mm.LabelPropagator', protocol=dict(name='stt_davis_s8', short_side=None)),
        )
    )
    model.backbone, model.feature_stage = Network(), 'res4'
    try:
        for allowed in ((True, True), (True, False), (False, True)):
            for backend, value in zip(backends, allowed, strict=True):
                backend.allow_tf32 = value
            model.feature(np.zeros((16, 24, 3), np.uint8))
            assert tuple(backend.allow_tf32 for backend in backends) == allowed
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value
    assert seen == [[False, False]] * 3


def selection_of(query, key):
    head = LocalCorrelationHead(dict(type='AffinityLoss'), selection='soft')
    return head.select(query, key, torch.zeros(2, 54, 25, device=query.device))


@pytest.mark.parametrize(
    ('operation', 'shapes'),
    [
        (ops.rgb_to_lab, [(2, 3, 6, 9)]),
        (lambda x: ops.normalise_frames(x, 'lab'), [(2, 3, 6, 9)]),
        (lambda x: ops.normalise_frames(x, 'rgb'), [(2, 3, 6, 9)]),
        (lambda x: ops.drop_channels(x, torch.tensor([False, True, False], device=x.device)), [(2, 2, 3, 6, 9)]),
        (lambda q, k: ops.local_affinity(q, k, 2, 0.5), [(2, 4, 18, 19)] * 2),
        (lambda q, k: ops.global_affinity(q, k, 0.5), [(2, 4, 6, 9)] * 2),
        (lambda a: ops.pool_local_affinity(a, (6, 8)), [(2, 48, 25)]),
        (ops.reconstruct, [(2, 54, 25), (2, 3, 6, 9)]),
        (lambda x: ops.upsample(x, 4, 'aligned'), [(2, 3, 6, 9)]),
        (lambda x: ops.upsample(x, 4, 'half_pixel'), [(2, 3, 6, 9)]),
        (lambda a: ops.window_entropy(a, 'neg_log_sum'), [(2, 54, 25)]),
        (selection_of, [(2, 4, 6, 9)] * 2),
        (lambda n: ops.walk_loss(ops.round_trips(n, 0.1)), [(2, 3, 5, 4)]),
        (lambda x: ops.cut_patches(x, 1 + 5 * torch.ones(2, 5, 4, device=x.device), (4, 6)), [(2, 3, 18, 19)]),
        (AffinityLoss(), [(2, 54, 25)] * 2),
        (lambda a, b: AffinityLoss('query')(a, b, a[..., 0] > 0.5), [(2, 54, 25)] * 2),
        (ReconstructionLoss(), [(2, 3, 6, 9)] * 2),
        (ops.split_mosaic, [(2, 3, 6, 9)]),
    ],
)
def test_values_and_gradients_are_those_of_the_cpu(operation, shapes, device, assert_near):
    inputs = [torch.rand(shape) for shape in shapes]
    found = {}
    for place in ('cpu', device):
        leaves = [value.to(place, copy=True).requires_grad_() for value in inputs]
        result = operation(*leaves)
        assert result.device.type == place
        if result.requires_grad:
            result.square().sum().backward()
        found[place] = [result, *(leaf.grad for leaf in leaves)]
    for ours, expected in zip(found[device], found['cpu'], strict=True):
        if expected is not None:
            assert_near(ours, expected)
