"""What a heat map becomes around its highest cells."""

import pytest
import torch
from torch.testing import assert_close

from stt_mm.ops import gathered


def mixture(peaks, components=2, size=13, **options):
    """What a heat map that is 0 but for its peaks becomes, [size, size]."""
    heat = torch.zeros(1, size, size, 1, 1, dtype=torch.float64)
    for (y, x), value in peaks.items():
        heat[0, y, x] = value
    found = gathered(heat, components=components, **options)
    return found.maps()[0, :, :, 0, 0]


def modes(heat):
    """Cells that are higher than the eight around them, and not only by what is left of a tail."""
    padded = torch.nn.functional.pad(heat, [1] * 4)
    around = padded.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)
    others = torch.cat([around[..., :4], around[..., 5:]], -1)
    return [tuple(cell) for cell in (heat > others.amax(-1) + 1e-9).nonzero().tolist()]


def test_one_peak_is_one_mode_where_it_stands():
    found = mixture({(4, 7): 0.3}, components=1)
    assert modes(found) == [(4, 7)]
    assert_close(found.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_a_second_peak_that_is_nothing_weighs_nothing():
    alone, beside = mixture({(4, 7): 1.0}, components=1), mixture({(4, 7): 1.0, (10, 2): 1e-7})
    assert (alone - beside).abs().max() < 1e-5
    assert beside[8:, :5].sum() < 1e-5


def test_peaks_side_by_side_are_one_mode_and_distant_ones_two():
    assert len(modes(mixture({(6, 6): 1.0, (6, 7): 0.9}))) == 1
    distant = mixture({(3, 3): 1.0, (9, 9): 0.8})
    assert modes(distant) == [(3, 3), (9, 9)]
    assert distant[:6, :6].sum().item() == pytest.approx(1 / 1.8, abs=1e-3)
