"""Decoding ahead of use, in one thread."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar('T')
_AHEAD = 2


def prefetch(iterable: Iterable[T]) -> Iterator[T]:
    """The same items in the same order, made by a thread up to two items ahead of the one in use.

    The thread starts with the first item asked for. It ends with the items, with an error, or when the iterator is
    closed or no longer referred to; then the item in the making is waited for, and a generator is closed. An error of
    the iterable comes after the items before it.
    """
    source, end = iter(iterable), object()
    with ThreadPoolExecutor(1, 'prefetch') as pool:
        try:
            ready = deque(pool.submit(next, source, end) for _ in range(_AHEAD))
            while (item := ready.popleft().result()) is not end:
                ready.append(pool.submit(next, source, end))
                yield item
                # An item may be large: it is not kept while the next one is waited for.
                del item
        finally:
            pool.shutdown(cancel_futures=True)
            if isinstance(source, Generator):
                source.close()
