"""The random state of a run: Python's, numpy's and PyTorch's generators, of every rank."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size


def get_random_state() -> dict[str, Any]:
    """State of this process's global generators, with the one of its current CUDA device if CUDA is in use."""
    legacy = np.random.get_state()  # noqa: NPY002 the global generator is the one that has to be kept
    state = dict(python=random.getstate(), numpy=legacy, torch=torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Set the generators to what :func:`get_random_state` returned, also after a checkpoint has moved its tensors."""
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])  # noqa: NPY002
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Whatever is drawn inside leaves no trace in the generators."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)


def gather_random_states() -> list[dict[str, Any]]:
    """The states of all ranks, by rank. Every rank must call it."""
    states = [get_random_state()]
    if get_world_size() > 1:
        states = [{} for _ in range(get_world_size())]
        torch.distributed.all_gather_object(states, get_random_state())
    return states


def restore_random_state(states: list[dict[str, Any]]) -> bool:
    """Set this rank's state from all ranks' states.

    Returns:
        Whether it was done; not if the number of ranks has changed, as then no state belongs to this rank.
    """
    if len(states) != get_world_size():
        return False
    set_random_state(states[get_rank()])
    return True
