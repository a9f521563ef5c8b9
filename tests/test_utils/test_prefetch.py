import threading
import time
import weakref

import numpy as np
import pytest

from stt_mm.utils.video import prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith('prefetch')]


def test_same_items_in_the_same_order():
    for items in (list(range(50)), [None, None], [0], []):
        assert list(prefetch(iter(items))) == list(prefetch(items)) == items
    assert not threads()


def test_items_are_made_in_another_thread_and_no_more_than_two_ahead():
    made, names = [], set()

    def source():
        for index in range(20):
            made.append(index)
            names.add(threading.current_thread().name)
            yield index

    items = prefetch(source())
    assert made == []
    assert next(items) == 0
    for index in range(1, 10):
        wait_until(lambda index=index: len(made) == index + 2)
        time.sleep(0.005)
        assert len(made) == index + 2
        assert next(items) == index
    assert names == {'prefetch_0'}
    items.close()
    assert not threads()


def wait_until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_making_and_using_overlap():
    """Two parties that each take 20 ms for an item need about 20 ms for both, not 40."""

    def source():
        for index in range(20):
            time.sleep(0.02)
            yield index

    start = time.monotonic()
    for _ in prefetch(source()):
        time.sleep(0.02)
    assert time.monotonic() - start < 0.7


def test_an_error_comes_after_the_items_before_it_and_shows_where_it_was_raised():
    def source():
        yield 1
        yield 2
        raise_here()

    def raise_here():
        raise OSError('file 3 is broken')

    items = prefetch(source())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match='file 3 is broken') as error:
        next(items)
    assert error.traceback[-1].name == 'raise_here'
    assert not threads()


@pytest.mark.parametrize('end', ['close', 'forget', 'break'])
def test_stopping_early_ends_the_thread_and_closes_the_source(end):
    closed = []

    def source():
        try:
            while True:
                yield np.zeros(1)
        finally:
            closed.append(True)

    items = prefetch(source())
    next(items)
    if end == 'close':
        items.close()
    elif end == 'forget':
        del items
    else:
        for _ in items:
            break
        del items, _
    assert not threads()
    assert closed == [True]


def test_items_that_were_used_are_not_kept():
    items = prefetch(np.zeros(1) for _ in range(30))
    seen = []
    for item in items:
        seen.append(weakref.ref(item))
        del item
        assert sum(reference() is not None for reference in seen) <= 1
    assert len(seen) == 30


def test_an_iterator_that_was_never_used_starts_no_thread():
    items = prefetch(range(3))
    assert not threads()
    del items
