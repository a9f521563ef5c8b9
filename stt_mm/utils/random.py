"""Random numbers that depend on a key alone, not on what was drawn before."""

import numpy as np

from stt_mm.errors import InputError


def generator(*key: int) -> np.random.Generator:
    """A generator seeded by the whole key, for example ``(seed, draw, index)``: equal keys give equal streams."""
    if not key or min(key) < 0:
        raise InputError(f'A random key is one or more integers that are 0 or larger, got {key}.')
    # The length comes first because NumPy pads keys with zeros: (1,) and (1, 0) would be the same stream.
    return np.random.default_rng([len(key), *key])
