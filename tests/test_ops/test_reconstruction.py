import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from stt_mm.ops import local_affinity, reconstruct, subsample, upsample


def identity_affinity(height, width, radius):
    affinity = torch.zeros(1, height * width, (2 * radius + 1) ** 2)
    affinity[..., affinity.shape[-1] // 2] = 1
    return affinity


def test_identity_rebuilds_the_sampled_frame_exactly():
    frame = torch.rand(1, 3, 64, 64)
    assert torch.equal(reconstruct(identity_affinity(16, 16, 3), subsample(frame, 4)), frame[..., ::4, ::4])


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 12), width=st.integers(1, 12), radius=st.integers(0, 4), seed=st.integers(0, 99))
def test_reconstruction_is_a_convex_combination(height, width, radius, seed):
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 1, 4, height, width, generator=generator)
    value = torch.randn(1, 2, height, width, generator=generator)
    affinity = local_affinity(query, key, radius, 1.0)
    rebuilt = reconstruct(affinity, value)
    low, high = value.amin((2, 3), keepdim=True), value.amax((2, 3), keepdim=True)
    assert ((rebuilt >= low - 1e-5) & (rebuilt <= high + 1e-5)).all()
    assert_close(reconstruct(affinity, torch.full_like(value, 0.3)), torch.full_like(value, 0.3))


@pytest.mark.parametrize(('stride', 'bias'), [(4, 1.5), (8, 3.5)])
def test_half_pixel_enlargement_shifts_a_ramp(stride, bias):
    ramp = torch.arange(256.0).expand(1, 1, 256, 256)
    inner = slice(stride, -2 * stride)
    shifted = upsample(subsample(ramp, stride), stride, 'half_pixel')
    assert_close((ramp - shifted)[..., inner], torch.full_like(ramp[..., inner], bias))
    aligned = upsample(subsample(ramp, stride), stride, 'aligned')
    assert aligned.shape == ramp.shape
    assert_close(aligned[..., inner], ramp[..., inner], rtol=0, atol=1e-4)


def test_the_aligned_enlargement_repeats_the_last_sample_at_the_border():
    grid = torch.tensor([[0.0, 4.0, 8.0], [40.0, 44.0, 48.0]])[None, None]
    row = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8])
    column = torch.tensor([0.0, 10, 20, 30, 40, 40, 40, 40])
    assert_close(upsample(grid, 4, 'aligned')[0, 0], column[:, None] + row)


@pytest.mark.parametrize(
    ('resolution', 'upsampling'), [('full', 'half_pixel'), ('full', 'aligned'), ('stride', 'aligned')]
)
@pytest.mark.parametrize('size', [(32, 96), (96, 32)])
def test_the_head_rebuilds_frames_that_are_not_square(resolution, upsampling, size):
    from stt_mm.models import ReconstructionHead

    head = ReconstructionHead(
        dict(type='ReconstructionLoss', distance='l1', scale=1.0),
        stages=('res3', 'res4'),
        resolution=resolution,
        upsample=upsampling,
    )
    reference, target = torch.rand(2, 1, 3, *size, generator=torch.Generator().manual_seed(0))
    dropped = torch.tensor([1])
    grids = {stage: (size[0] // stride, size[1] // stride) for stage, stride in (('res3', 4), ('res4', 8))}
    affinities = {stage: identity_affinity(*grid, 1) for stage, grid in grids.items()}
    losses = head.loss(affinities, reference, target, grids, dropped)
    for stage, stride in (('res3', 4), ('res4', 8)):
        rebuilt, truth = subsample(reference, stride)[:, 1:2], target[:, 1:2]
        if resolution == 'full':
            rebuilt = upsample(rebuilt, stride, upsampling)
        else:
            truth = subsample(truth, stride)
        assert_close(losses[f'loss_recon_{stage}'], (rebuilt - truth).abs().mean())


@pytest.mark.parametrize(('difference', 'cost'), [(0.01, 0.02), (0.05, 0.5), (0.1, 1.5), (0.5, 9.5)])
def test_penalty_of_the_released_code(difference, cost):
    from stt_mm.models import ReconstructionLoss

    target = torch.zeros(1, 1, 2, 2)
    assert_close(ReconstructionLoss()(target + difference, target), torch.tensor(cost))
    assert_close(ReconstructionLoss('l1', 1.0)(target + difference, target), torch.tensor(difference))


def test_sampled_pixels_are_those_at_multiples_of_the_stride():
    frame = torch.arange(64.0).view(1, 1, 8, 8)
    assert subsample(frame, 4).flatten().tolist() == [0, 4, 32, 36]
    assert not torch.equal(subsample(frame, 4), F.avg_pool2d(frame, 4))
