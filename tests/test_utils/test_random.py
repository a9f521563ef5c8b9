import numpy as np
import pytest

from stt_mm.utils import generator


def test_equal_keys_equal_streams():
    assert np.array_equal(generator(3, 1, 4).random(5), generator(3, 1, 4).random(5))


def test_unequal_keys_unequal_streams():
    keys = [(0,), (1,), (0, 0), (1, 0), (0, 1), (1, 0, 0), (2**31, 1), (2**40, 1)]
    assert len({generator(*key).random() for key in keys}) == len(keys)


@pytest.mark.parametrize('key', [(), (1, -1)])
def test_bad_keys(key):
    with pytest.raises(ValueError, match='0 or larger'):
        generator(*key)
