"""Decoding ahead of use, in one thread."""

import threading
from collections.abc import Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

from stt_mm.errors import InputError

T = TypeVar('T')


def prefetch(iterable: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same items in the same order, made by a thread up to ``depth`` items ahead of the one in use.

    The thread starts with the first item asked for. It ends with the items, with an error, or when the iterator is
    closed or no longer referred to; it is waited for, so at most the item in the making is still made. A generator is
    closed by the thread that ran it.

    Args:
        iterable: makes the items; used by the thread alone.
        depth: at most so many items are ready and not yet taken, 1 or larger.

    Raises:
        ValueError: ``depth`` below 1.
        Whatever ``iterable`` raises, with its traceback, after the items before it.
    """
    if depth < 1:
        raise InputError(f'prefetch: depth must be 1 or larger, got {depth}.')
    return _prefetch(iterable, depth)


def _prefetch(iterable: Iterable[T], depth: int) -> Iterator[T]:
    ready: SimpleQueue = SimpleQueue()
    room = threading.Semaphore(depth - 1)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in iterable:
                ready.put((True, item))
                # An item may be large: it is not kept while the next one is made.
                del item
                # Not before there is room is the next item made.
                room.acquire()
                if stop.is_set():
                    break
            if isinstance(iterable, Generator):
                iterable.close()
        except BaseException as error:  # raised again where the items are used
            ready.put((False, error))
        else:
            ready.put((False, None))

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    try:
        while True:
            more, item = ready.get()
            if not more:
                break
            room.release()
            yield item
            del item
        if item is not None:
            raise item
    finally:
        stop.set()
        room.release()
        thread.join()
