import random

import numpy as np
import torch

from stt_mm.engine.random_state import (
    gather_random_states,
    get_random_state,
    kept_random_state,
    restore_random_state,
    set_random_state,
)


def draws():
    return random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002


def test_all_three_generators_come_back():
    states = gather_random_states()
    first = draws()
    assert all(one != other for one, other in zip(first, draws(), strict=True))
    assert restore_random_state(states)
    assert draws() == first


def test_what_is_drawn_inside_leaves_no_trace():
    states = gather_random_states()
    expected = draws()
    restore_random_state(states)
    with kept_random_state():
        draws()
    assert draws() == expected


def test_states_of_another_number_of_processes_are_not_taken():
    states = gather_random_states()
    first = draws()
    assert not restore_random_state(states * 2)
    assert all(one != other for one, other in zip(first, draws(), strict=True))


def test_each_rank_takes_its_own_state(monkeypatch):
    states, expected = [], []
    for _ in range(2):
        states += gather_random_states()
        expected.append(draws())
    monkeypatch.setattr('stt_mm.engine.random_state.get_world_size', lambda: 2)
    for rank in range(2):
        monkeypatch.setattr('stt_mm.engine.random_state.get_rank', lambda rank=rank: rank)
        assert restore_random_state(states)
        assert draws() == expected[rank]


def test_states_are_gathered_from_every_process(monkeypatch):
    monkeypatch.setattr('stt_mm.engine.random_state.get_world_size', lambda: 2)

    def all_gather_object(found, own):
        found[:] = [own, dict(other=True)]

    monkeypatch.setattr(torch.distributed, 'all_gather_object', all_gather_object)
    own, other = gather_random_states()
    assert other == dict(other=True)
    first = draws()
    assert restore_random_state([own, other])
    assert draws() == first


def test_the_generator_of_a_gpu_that_is_in_use_is_one_of_them(monkeypatch):
    set_to = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, 'set_rng_state', set_to.append)
    used = get_random_state()
    assert used['cuda'].tolist() == [7]
    set_random_state(used)
    assert [state.tolist() for state in set_to] == [[7]]
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: False)
    unused = get_random_state()
    assert 'cuda' not in unused
    set_random_state(unused)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    set_random_state(used)
    assert len(set_to) == 1
