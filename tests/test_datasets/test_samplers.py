from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from stt_mm.datasets import LongestFirstSampler, TrainSampler, samplers
from stt_mm.registry import DATA_SAMPLERS
from stt_mm.utils import generator

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
    parts = [list(islice(sampler_of(monkeypatch, rank, world_size), batch * iterations)) for rank in range(world_size)]
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
    assert {index for index, *_ in islice(sampler, 3)} == {0, 1, 2}


class Videos:
    """As much of a dataset as the sampler needs."""

    def __init__(self, num_frames):
        self.frames = num_frames

    def __len__(self):
        return len(self.frames)

    def num_frames(self, index):
        return self.frames[index]


def shares(monkeypatch, num_frames, world_size):
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = LongestFirstSampler(Videos(num_frames))
        assert len(sampler) == len(list(sampler))
        parts.append(list(sampler))
    return parts


def test_longest_first_to_the_least_loaded(monkeypatch):
    # 9 to rank 0, 7 and then 6 to the other two, 5 to rank 2 (6 so far), 4 to rank 1 (7), 2 to rank 0 (9).
    assert shares(monkeypatch, [4, 9, 2, 6, 5, 7], 3) == [[1, 2], [5, 0], [3, 4]]
    assert shares(monkeypatch, [4, 9, 2, 6, 5, 7], 1) == [[1, 5, 3, 4, 0, 2]]


@given(num_frames=st.lists(st.integers(1, 500), max_size=40), world_size=st.integers(1, 9))
def test_every_video_once_and_no_rank_overloaded(num_frames, world_size):
    with pytest.MonkeyPatch.context() as monkeypatch:
        parts = shares(monkeypatch, num_frames, world_size)
    assert sorted(index for part in parts for index in part) == list(range(len(num_frames)))
    loads = [sum(num_frames[index] for index in part) for part in parts]
    # A rank that got a video last had the smallest load then: nobody exceeds the smallest by more than one video.
    for part, load in zip(parts, loads, strict=True):
        assert [num_frames[i] for i in part] == sorted((num_frames[i] for i in part), reverse=True)
        assert not part or load - num_frames[part[-1]] <= min(loads)


def test_nothing_left_to_do_and_more_ranks_than_videos(monkeypatch):
    assert shares(monkeypatch, [], 2) == [[], []]
    assert shares(monkeypatch, [3], 3) == [[0], [], []]


def test_dataset_without_frame_counts():
    with pytest.raises(ValueError, match=r'num_frames\(index\), which range does not have'):
        LongestFirstSampler(range(3))


def test_longest_first_built_as_the_runner_does():
    sampler = DATA_SAMPLERS.build(dict(type='LongestFirstSampler'), default_args=dict(dataset=Videos([1, 2]), seed=5))
    assert list(DataLoader(Videos([1, 2]), sampler=sampler, batch_sampler=None).sampler) == [1, 0]


def test_the_stream_begins_in_any_pass(monkeypatch):
    whole = list(islice(sampler_of(monkeypatch), 4 * SIZE))
    for start in range(3 * SIZE):
        sampler = sampler_of(monkeypatch)
        sampler.advance(start)
        assert list(islice(sampler, SIZE)) == whole[start : start + SIZE]


def test_each_pass_is_drawn_from_seed_and_number(monkeypatch):
    stream = [index for index, *_ in islice(sampler_of(monkeypatch, seed=3), 2 * SIZE)]
    assert stream == [*generator(3, 0).permutation(SIZE), *generator(3, 1).permutation(SIZE)]
    assert [index for index, *_ in islice(TrainSampler(range(SIZE), seed=3), 2 * SIZE)] == stream
