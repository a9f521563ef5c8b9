import math

import pytest
import torch
from scipy.stats import spearmanr
from torch.testing import assert_close

from stt_mm.ops import (
    keep_per_batch,
    keep_per_image,
    keep_released,
    local_correlation,
    select_queries,
    soft_weights,
    window_entropy,
)


def mixed_sharpness(count=400, cells=169):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, cells, generator=generator) * torch.linspace(0.05, 6, count)[:, None]
    return logits.softmax(-1)[None]


def test_neg_log_sum_is_a_divergence_from_the_flat_distribution():
    affinity = mixed_sharpness()[:, :100].double()
    divergence = (math.log(1 / 169) - affinity.log()).mean(-1)
    assert affinity.min() > 1e-8
    assert_close(window_entropy(affinity, 'neg_log_sum'), 169 * math.log(169) + 169 * divergence, rtol=1e-6, atol=0)


def test_known_values():
    flat = torch.full((1, 1, 169), 1 / 169, dtype=torch.float64)
    peak = torch.zeros(1, 1, 169, dtype=torch.float64)
    peak[..., 5] = 1
    assert window_entropy(flat, 'neg_log_sum').item() == pytest.approx(866.9529, abs=1e-4)
    assert window_entropy(peak, 'neg_log_sum').item() == pytest.approx(4642.0115, abs=1e-3)
    assert window_entropy(flat, 'shannon').item() == pytest.approx(5.1299, abs=1e-4)
    assert window_entropy(peak, 'shannon').item() == pytest.approx(0, abs=1e-9)


def test_the_two_measures_rank_in_opposite_order():
    affinity = mixed_sharpness()
    rank = spearmanr(window_entropy(affinity, 'neg_log_sum')[0], window_entropy(affinity, 'shannon')[0]).statistic
    assert rank < -0.9


def test_entropy_of_the_zero_padded_window_equals_unfolding_the_features():
    query, key = torch.randn(2, 2, 8, 10, 12)
    windows = torch.nn.functional.unfold(key, 13, padding=6).view(2, 8, 169, 120)
    unfolded = torch.einsum('bcq,bckq->bqk', query.flatten(2), windows).softmax(-1)
    ours = window_entropy(local_correlation(query, key, 6).softmax(-1), 'neg_log_sum')
    assert_close(ours, window_entropy(unfolded, 'neg_log_sum'), rtol=1e-6, atol=0)


def test_per_image_keeps_the_largest_715_of_1024():
    entropy = torch.rand(3, 32, 32)
    kept = keep_per_image(entropy, 0.7)
    assert kept.flatten(1).sum(1).tolist() == [715] * 3
    for image, mask in zip(entropy, kept, strict=True):
        assert image[mask].min() > image[~mask].max()


@pytest.mark.parametrize('ratio', [1e-6, 0.01, 0.05, 0.1, 0.5, 0.97, 1.0])
def test_the_rank_of_the_threshold_is_rounded_down_and_at_least_the_first(ratio):
    entropy = torch.rand(2, 5, 8, generator=torch.Generator().manual_seed(3))
    # What is above the value of a rank that is counted from 0 are as many as the rank.
    ranks = {count: max(math.floor(count * ratio) - 1, 0) for count in (40, 80, 5)}
    assert keep_per_image(entropy, ratio).sum((1, 2)).tolist() == [ranks[40]] * 2
    assert keep_per_batch(entropy, ratio).sum() == ranks[80]
    for kept, image in zip(keep_released(entropy, ratio), entropy.tolist(), strict=True):
        thresholds = sorted(image[ranks[5]], reverse=True)
        assert kept.tolist() == [[value > least for value, least in zip(row, thresholds, strict=True)] for row in image]


def test_batch_threshold_is_shared():
    entropy = torch.cat([torch.rand(1, 8, 8), torch.rand(1, 8, 8) + 2])
    kept = keep_per_batch(entropy, 0.5)
    assert kept[0].sum() == 0
    assert kept[1].sum() == 63


def test_released_threshold_is_the_sorted_row_21():
    entropy = torch.rand(64, 32, 32, generator=torch.Generator().manual_seed(1))
    kept = keep_released(entropy, 0.7)
    expected = torch.stack([image > image[21].sort(descending=True).values for image in entropy])
    assert torch.equal(kept, expected)
    columns = kept.float().mean((0, 1))
    assert columns[0] < 0.1
    assert columns[-1] > 0.9
    assert kept.float().mean() == pytest.approx(0.5, abs=0.03)


def test_the_row_of_thresholds_is_counted_along_the_height():
    entropy = torch.rand(2, 10, 24, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([image > image[6].sort(descending=True).values for image in entropy])
    assert torch.equal(keep_released(entropy, 0.7), expected)


@pytest.mark.parametrize(('height', 'width'), [(8, 14), (14, 8)])
def test_the_border_of_soft_weights_is_three_cells_on_each_side(height, width):
    inner = torch.zeros(height, width, dtype=torch.bool)
    inner[3:-3, 3:-3] = True
    weights = soft_weights(torch.rand(1, height, width, generator=torch.Generator().manual_seed(0)) + 5)
    assert torch.equal(weights[0] > 0, inner)


def test_soft_weights_are_zero_at_the_border_and_reach_one():
    weights = soft_weights(torch.rand(2, 32, 32) + 5)
    assert weights.amax((1, 2)).tolist() == pytest.approx([1, 1])
    assert not weights[:, :3].any()
    assert not weights[:, :, -3:].any()
    assert (weights[:, 3:-3, 3:-3] > 0).all()


@pytest.mark.parametrize('selection', ['released', 'per_image', 'batch', 'soft'])
@pytest.mark.parametrize('source', ['window', 'affinity'])
def test_a_compiler_gets_the_selection_as_one_piece(selection, source):
    """Entropies that saturate are equal but for rounding, which decides whether a query is kept."""
    query, key, affinity = 30 * torch.randn(2, 4, 6, 9), 30 * torch.randn(2, 4, 6, 9), torch.rand(2, 54, 25)
    graphs = []

    def backend(module, inputs):
        graphs.append([str(node.target) for node in module.graph.nodes if node.op == 'call_function'])
        return module.forward

    how = selection, 'neg_log_sum', source, 0.7
    found = torch.compile(select_queries, backend=backend)(query, key, affinity, *how)
    assert graphs == [['stt_mm.select_queries.default']]
    assert torch.equal(found, select_queries(query, key, affinity, *how))
    torch._dynamo.reset()
