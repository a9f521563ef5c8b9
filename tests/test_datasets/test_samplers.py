from itertools import islice

import pytest

from stt_mm.datasets import TrainSampler, samplers
from stt_mm.registry import DATA_SAMPLERS

SIZE = 7


def sampler_of(monkeypatch, rank=0, world_size=1, seed=5, shuffle=True):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, world_size))
    return TrainSampler(range(SIZE), seed=seed, shuffle=shuffle)


def test_each_pass_is_another_permutation(monkeypatch):
    stream = list(islice(sampler_of(monkeypatch), 4 * SIZE))
    assert {seed for *_, seed in stream} == {5}
    assert [draw for _, draw, _ in stream] == list(range(4 * SIZE))
    passes = [tuple(index for index, *_ in stream[SIZE * k : SIZE * (k + 1)]) for k in range(4)]
    assert all(sorted(order) == list(range(SIZE)) for order in passes)
    assert len(set(passes)) == 4


def test_seed_decides_the_order(monkeypatch):
    first, again, other = (list(islice(sampler_of(monkeypatch, seed=seed), 20)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_unshuffled(monkeypatch):
    stream = islice(sampler_of(monkeypatch, shuffle=False), 9)
    assert list(stream) == [(draw % SIZE, draw, 5) for draw in range(9)]


@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_share_what_one_process_would_take(monkeypatch, world_size):
    batch, iterations = 2, 9
    whole = list(islice(sampler_of(monkeypatch), batch * world_size * iterations))
    parts = [
        list(islice(sampler_of(monkeypatch, rank, world_size), batch * iterations)) for rank in range(world_size)
    ]
    for i in range(iterations):
        together = {sample for part in parts for sample in part[batch * i : batch * (i + 1)]}
        assert together == set(whole[batch * world_size * i : batch * world_size * (i + 1)])


@pytest.mark.parametrize('num_samples', [0, 1, 6, 7, 23])
@pytest.mark.parametrize('rank', [0, 1])
def test_advance_goes_on_where_it_stopped(monkeypatch, rank, num_samples):
    whole = list(islice(sampler_of(monkeypatch, rank, 2), 40))
    sampler = sampler_of(monkeypatch, rank, 2)
    sampler.advance(num_samples)
    assert list(islice(sampler, 10)) == whole[num_samples : num_samples + 10]


def test_advance_is_immediate(monkeypatch):
    sampler = sampler_of(monkeypatch)
    sampler.advance(10**12)
    assert next(iter(sampler))[1] == 10**12
    with pytest.raises(ValueError, match='0 or more, got -1'):
        sampler.advance(-1)


@pytest.mark.parametrize(('world_size', 'expected'), [(1, 7), (2, 4), (7, 1), (8, 1)])
def test_length_is_one_pass_of_a_rank(monkeypatch, world_size, expected):
    assert len(sampler_of(monkeypatch, 0, world_size)) == expected


def test_empty_dataset():
    with pytest.raises(ValueError, match='empty'):
        TrainSampler([], seed=0)


def test_built_as_the_runner_does():
    sampler = DATA_SAMPLERS.build(dict(type='TrainSampler'), default_args=dict(dataset=range(3), seed=None))
    assert sampler.seed >= 0
    sampler.set_epoch(3)
    assert {index for index, *_ in islice(sampler, 3)} == {0, 1, 2}
