import threading
import time
import weakref

import numpy as np
import pytest

from stt_mm.utils.prefetch import prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == 'prefetch']


@pytest.mark.parametrize('depth', [1, 2, 7])
def test_same_items_in_the_same_order(depth):
    assert list(prefetch(iter(range(50)), depth)) == list(range(50))
    assert list(prefetch([None, None], depth)) == [None, None]
    assert list(prefetch([], depth)) == []
    assert not threads()


def test_items_are_made_in_another_thread_and_no_more_than_depth_ahead():
    made, names = [], set()

    def source():
        for index in range(20):
            made.append(index)
            names.add(threading.current_thread().name)
            yield index

    items = prefetch(source(), 3)
    assert made == []
    assert next(items) == 0
    for index in range(1, 10):
        wait_until(lambda index=index: len(made) == index + 3)
        time.sleep(0.005)
        assert len(made) == index + 3
        assert next(items) == index
    assert names == {'prefetch'}
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

    items = prefetch(source(), 5)
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
            closed.append(threading.current_thread().name)

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
    assert closed == ['prefetch']


def test_items_that_were_used_are_not_kept():
    items = prefetch((np.zeros(1) for _ in range(30)), 2)
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


@pytest.mark.parametrize('depth', [0, -1])
def test_depth_is_checked_at_once(depth):
    with pytest.raises(ValueError, match=f'depth must be 1 or larger, got {depth}'):
        prefetch([], depth)


def test_two_items_are_made_ahead_unless_told_by_a_thread_that_keeps_no_program_alive():
    made = []
    items = prefetch(made.append(number) or number for number in range(9))
    next(items)
    wait_until(lambda: len(made) == 3)
    time.sleep(0.01)
    assert len(made) == 3
    assert [thread.daemon for thread in threads()] == [True]
    items.close()
