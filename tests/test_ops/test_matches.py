import pytest
import torch

from stt_mm.ops import Vote, Window, principal_components, propagate, vote_weights

GRID = (13, 17)
CELLS = [(0, 0), (5, 9), (12, 16)]
VOTES = [Vote('softmax', 0.5), Vote('topk', 0.5, 5), Vote('compact', 0.5), Vote('compact', 0.5, threshold=0.05)]


def features(seed, channels=6):
    return torch.randn(channels, *GRID, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('border', ['excluded', 'zero'])
@pytest.mark.parametrize('window', [None, Window('square', 3)])
@pytest.mark.parametrize('vote', VOTES, ids=lambda vote: f'{vote.kind} {vote.threshold}')
def test_weights_are_what_a_label_of_one_cell_gives(vote, window, border):
    query, key = features(0), features(1)
    weights = vote_weights(query, key, CELLS, window, vote, border)
    labels = torch.eye(key[0].numel()).unflatten(1, GRID)[None]
    carried = propagate(query, key[None], labels, window, vote, border=border)
    for found, (row, column) in zip(weights, CELLS, strict=True):
        assert torch.allclose(found.flatten(), carried[:, row, column], atol=1e-6)


def test_weights_outside_of_the_window_are_zero_and_all_sum_to_one():
    weights = vote_weights(features(0), features(1), [(5, 9)], Window('circle', 2), Vote('softmax', 1.0))[0]
    rows, columns = weights.nonzero().unbind(1)
    assert sorted(zip((rows - 5).tolist(), (columns - 9).tolist(), strict=True)) == [
        (y, x) for y in range(-2, 3) for x in range(-2, 3) if y * y + x * x <= 4
    ]
    assert weights.sum() == pytest.approx(1, abs=1e-6)


def test_weights_leave_nothing_behind_for_training():
    query = features(0).requires_grad_()
    with torch.no_grad():
        weights = vote_weights(query, features(1), CELLS, None, Vote('softmax', 1.0))
    assert not weights.requires_grad
    assert query.grad is None


def test_components_are_those_of_known_axes_in_order():
    axes = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
    steps = torch.linspace(-1, 1, 101)
    waves = torch.stack([3 * steps, 2 * (2 * steps**2 - 1), steps.sign() * 1e-9], 1)
    found = principal_components(waves @ axes[:3] + 7)
    for number in range(2):
        direction = axes[number] * axes[number][axes[number].abs().argmax()].sign()
        wave = waves[:, number] * (direction @ axes[number])
        inner = (found[:, number] > 0) & (found[:, number] < 1)
        assert torch.corrcoef(torch.stack([found[inner, number], wave[inner]]))[0, 1] > 0.999
    assert found.min() == 0
    assert found.max() == 1
    assert (found[:, 2] == 0.5).all()


def test_components_do_not_depend_on_the_order_or_the_number_of_the_rows():
    rows = torch.randn(300, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([5.0, 4, 3, 1, 1, 1, 1, 1])
    order = torch.randperm(300, generator=torch.Generator().manual_seed(2))
    found = principal_components(rows)
    assert torch.allclose(principal_components(rows[order]), found[order], atol=1e-6)
    assert torch.allclose(principal_components(rows.repeat(2, 1))[:300], found, atol=0.02)


@pytest.mark.parametrize('channels', [1, 2])
def test_components_that_are_not_there_are_grey(channels):
    rows = torch.randn(50, channels, generator=torch.Generator().manual_seed(0))
    found = principal_components(rows)
    assert found.shape == (50, 3)
    assert (found[:, channels:] == 0.5).all()
    assert (principal_components(torch.ones(4, channels)) == 0.5).all()
