"""What takes long, one at a time, in a thread of its own: runs of the network and exports."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from stt_mm.apis import VideoPropagator
from stt_mm.app.annotations import Labels, earlier_labels, later_labels, whole_labels
from stt_mm.app.session import ConflictError, Session
from stt_mm.errors import InputError, SttMMError
from stt_mm.utils import FrameSequence, list_images, write_mask

logger = logging.getLogger(__name__)

DIRECTIONS = ('forward', 'backward', 'both')


class StoppedError(Exception):
    """Somebody asked for the end."""


class Worker:
    """At most one job at a time. What it does is described by :meth:`state`, also after its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._state: dict[str, Any] | None = None

    def state(self) -> dict[str, Any] | None:
        """The job that is at work, or was last; its ``state`` is running, finished, stopped or failed."""
        with self._lock:
            return self._state and dict(self._state)

    def works_on(self, video: str) -> bool:
        """Whether a job is at work for a video of this name."""
        state = self.state()
        return state is not None and state['state'] == 'running' and state['video'] == video

    def start(self, video: str, kind: str, what: str, job: Callable[['Worker'], str]) -> None:
        """Begin a job, unless one is at work.

        Args:
            video: its name.
            kind: ``run`` or ``export``.
            what: the direction, or the form.
            job: is to call :meth:`reach`, and returns what to say at its end.
        """
        with self._lock:
            if self._state and self._state['state'] == 'running':
                raise ConflictError(
                    f'{self._state["video"]} is at work ({self._state["kind"]}: {self._state["what"]}). Wait for its '
                    'end, or stop it.'
                )
            number = self._state['number'] + 1 if self._state else 1
            self._stop.clear()
            self._state = dict(
                number=number, video=video, kind=kind, what=what, state='running', done=0, total=0, rate=0.0, message=''
            )
            self._begun = time.monotonic()
            self._thread = threading.Thread(target=self._work, args=(job,), name=f'{kind}-{number}', daemon=True)
            self._thread.start()

    def reach(self, done: int, total: int) -> None:
        """Say how far it is; called by the job, which it ends by an error if that was asked for."""
        with self._lock:
            rate = done / max(time.monotonic() - self._begun, 1e-3)
            self._state |= dict(done=done, total=total, rate=round(rate, 2))
        if self._stop.is_set():
            raise StoppedError

    def stop(self, wait: float | None = None) -> None:
        """Ask for the end after the frame in work, and wait so many seconds for it."""
        self._stop.set()
        thread = self._thread
        if wait is not None and thread is not None:
            thread.join(wait)

    def _work(self, job: Callable[['Worker'], str]) -> None:
        try:
            end = dict(state='finished', message=job(self))
        except StoppedError:
            end = dict(state='stopped', message='Stopped. What was done up to there is kept.')
        except SttMMError as error:
            end = dict(state='failed', message=str(error))
        except Exception as error:
            # The page has to say that it ended; what is wrong with the code stands in the log.
            logger.exception('The job ended by a fault of the code.')
            end = dict(state='failed', message=f'A fault of the program ({type(error).__name__}: {error}).')
        with self._lock:
            self._state |= end


def propagate(session: Session, propagator: VideoPropagator, direction: str, start: int | None) -> Callable:
    """A job that carries what was given through a video.

    Args:
        session: with the labels; gets the results frame by frame.
        propagator: the network.
        direction: ``forward``, ``backward`` or ``both``.
        start: go on from this frame as it is shown; ``None``: from all that was given.

    Raises:
        ValueError: there is nothing to follow, or no such direction.
    """
    if direction not in DIRECTIONS:
        raise InputError(f'direction must be one of {", ".join(DIRECTIONS)}, got {direction!r}.')
    if start is not None and direction == 'both':
        raise InputError('Both ways go through the whole video; from one frame on, choose a direction.')
    with session.lock:
        revision, span, order, labels = session.revision, *_planned(session, direction, start)
        session.reserve_numbers()

    def job(worker: Worker) -> str:
        run: dict[str, Any] = dict(direction=direction, start=start, first=span.start, last=span.stop - 1, reached=None)
        state = 'failed'
        try:
            worker.reach(0, len(span))
            with closing(_results(session, propagator, direction, span, order, labels, worker)) as results:
                for frame, result in zip(span, results, strict=True):
                    run['reached'] = frame
                    session.keep(frame, result, labels.order, run | dict(state='running'))
                    if direction == 'forward':
                        worker.reach(frame + 1 - span.start, len(span))
            state = 'finished'
        except StoppedError:
            state = 'stopped'
            raise
        finally:
            session.end_run(revision, run | dict(state=state))
        return f'{len(span)} frames are done. Look where the confidence is low, correct, and go on.'

    return job


def _planned(session: Session, direction: str, start: int | None) -> tuple[range, list[int] | None, Labels]:
    """The frames that get results, the frames to go through where these are others, and the labels."""
    entries, count = session.entries, len(session.frames)
    if start is not None:
        session.check_frame(start)
        shown = session.mask(start)
        places = {number: place for number, place in session.places(start).items() if place is not None}
        if not shown.any() and not places:
            raise InputError(f'Frame {start} shows nothing to go on from. Paint there, or take the whole video.')
        if direction == 'forward':
            order, labels = later_labels(entries, start, count, shown, places)
            return range(start, count), order, labels
        labels = earlier_labels(entries, start, shown, places)
        return range(start + 1), None, labels
    labels = whole_labels(entries, range(count))
    if not labels.frames:
        raise InputError('There is nothing to follow yet: paint an object, or set a point.')
    first, last = labels.frames[0], labels.frames[-1]
    return dict(forward=range(first, count), backward=range(last + 1), both=range(count))[direction], None, labels


def _results(
    session: Session,
    propagator: VideoPropagator,
    direction: str,
    span: range,
    order: list[int] | None,
    labels: Labels,
    worker: Worker,
) -> Iterator:
    """Results of the frames of ``span``."""
    path, masks = session.frames.path, {}
    for frame, mask in labels.masks.items():
        # In the palette of DAVIS a mask is taken as it is, however thin its parts are.
        masks[frame] = session.folder / 'given' / f'{frame:05d}.png'
        write_mask(masks[frame], mask)
    if order is not None:
        frames = FrameSequence(list_images(path) if path.is_dir() else path)
        results = propagator.stream(
            (frames[t] for t in order), masks or None, labels.points or None, edits=labels.edits
        )
        with closing(results):
            yield from islice(results, order.index(span.start), None)
        return
    results = propagator.stream(
        path,
        masks or None,
        labels.points or None,
        max_frames=len(span),
        edits=labels.edits,
        start=span.start,
        direction=direction,
        progress=worker.reach,
    )
    with closing(results):
        yield from results
