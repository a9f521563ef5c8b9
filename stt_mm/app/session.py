"""One video with what was given and found for it; saved beside it at every change."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stt_mm.apis import FrameResult
from stt_mm.apis.labels import lowest
from stt_mm.app import changes as edits
from stt_mm.app.annotations import NO_FRAME, Entries, Key, frames_of, is_shown, laid_over, numbers, values_at
from stt_mm.app.frames import Frames
from stt_mm.app.store import Store
from stt_mm.errors import InputError, SttMMError
from stt_mm.utils.masks import display_colors

SUFFIX = '.stt_mm'
_DOUBT = 0.8  # confidence below which a frame is marked
_MARKS = 5


class ConflictError(InputError):
    """What is asked for was right a moment ago: another page has changed the session, or a run is at work."""


def session_folder(video: Path) -> Path:
    """Where the session of a video is kept."""
    return video.with_name(video.name + SUFFIX)


class Session:
    """Safe to be used by several threads.

    Args:
        video: a video file or a folder of images.

    Raises:
        ValueError: the session is open elsewhere, damaged, or was made for another video of the same name.
        FrameError, OSError: the video cannot be read, or its session not written.
    """

    def __init__(self, video: Path) -> None:
        self.frames = Frames(video)
        self.folder = session_folder(video)
        self.lock = threading.RLock()
        self.store = Store(self.folder / 'session.sqlite')
        self._followed: set[tuple[str, int]] = set()  # by the run that is at work
        try:
            made_for = [len(self.frames), *self.frames.size]
            before = self.store.fact('video', made_for)
            if before != made_for:
                raise InputError(
                    f'{self.folder} is the session of a video of {before[0]} frames of {before[2]}x{before[1]} (width '
                    f'x height), but {video} has {made_for[0]} of {made_for[2]}x{made_for[1]}. Move the folder away '
                    'to begin anew, or bring the video back.'
                )
            self.entries = self.store.entries()
            self.revision = self.store.fact('revision', 0)
            self.store.set_facts(video=made_for)
        except SttMMError:
            self.store.close()
            raise

    def close(self) -> None:
        """Frees the file of the session."""
        with self.lock:
            self.store.close()

    def is_current(self) -> bool:
        """Whether the video and the file of the session are still those that were opened."""
        return self.frames.are_current() and self.store.is_in_place()

    # What is shown.

    def state(self) -> dict[str, Any]:
        """All but the frames, as plain data."""
        with self.lock:
            undo, redo = self.store.steps()
            return dict(
                frames=len(self.frames),
                height=self.frames.size[0],
                width=self.frames.size[1],
                fps=self.frames.fps,
                key=self.frames.key,
                revision=self.revision,
                objects=[
                    self._described('object', number, 'area', 'end') for number in numbers(self.entries, 'object')
                ],
                points=[
                    self._described('point', number, 'place', 'point_end') for number in numbers(self.entries, 'point')
                ],
                undo=undo,
                redo=redo,
                results=self.store.num_results(),
                waiting=sorted(map(int, self.store.fact('waiting', {}))),
                run=self.store.fact('run'),
            )

    def _described(self, kind: str, number: int, given: str, ended: str) -> dict[str, Any]:
        return dict(
            id=number,
            name=self.entries[kind, number, NO_FRAME],
            color='#{:02x}{:02x}{:02x}'.format(*_COLORS[number if kind == 'object' else (number - 1) % 255 + 1]),
            given=frames_of(self.entries, given, number),
            ends=frames_of(self.entries, ended, number),
        )

    def mask(self, frame: int, entries: Entries | None = None) -> np.ndarray:
        """uint8 ``[H, W]``, the ids that are shown in a frame; with ``entries`` of a moment, as they were then."""
        with self.lock:
            found = self.store.result(frame)
            entries = self.entries if entries is None else entries
        mask = None if found is None or found[0] is None else self._ids(found[0])
        return laid_over(entries, frame, mask, self.frames.size)

    def places(self, frame: int, entries: Entries | None = None) -> dict[int, list[float] | None]:
        """(x, y) of the points that are shown in a frame by number, ``None`` where one is lost; see :meth:`mask`."""
        with self.lock:
            found = self.store.result(frame)
            entries = self.entries if entries is None else entries
        places = (dict(found[1]) if found else {}) | values_at(entries, 'place', frame)
        return {number: place for number, place in sorted(places.items()) if is_shown(entries, 'point', number, frame)}

    def _ids(self, png: bytes) -> np.ndarray:
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        if mask is None or mask.shape != self.frames.size:
            raise InputError(f'A mask in {self.store.path} is damaged. Clear the results, and propagate again.')
        return mask

    def details(self, frame: int) -> dict[str, Any]:
        """What is shown in a frame beside its mask, as plain data."""
        with self.lock:
            return dict(
                frame=frame,
                found=self.store.result(frame) is not None,
                given=sorted(values_at(self.entries, 'area', frame)),
                placed=sorted(values_at(self.entries, 'place', frame)),
                places=self.places(frame),
                confidence={
                    f'{kind}/{number}': round(value, 3)
                    for (kind, number), value in self.store.confidence_at(frame).items()
                    if is_shown(self.entries, kind, number, frame)
                },
            )

    def shown_frames(self) -> list[int]:
        """Frames for which something was given or found, rising."""
        with self.lock:
            given = {frame for kind, _, frame in self.entries if kind in ('area', 'place')}
            return sorted({*given, *self.store.result_frames()})

    def confidence(self, columns: int) -> dict[str, Any]:
        """The least confidence in each of so many equal stretches of the video, and the frames most in doubt."""
        with self.lock:
            count = min(columns, len(self.frames))
            rows: dict[str, list[float | None]] = {}
            for kind, number, column, value in self.store.least_confidence(len(self.frames) / count):
                if (kind, number, NO_FRAME) in self.entries:
                    rows.setdefault(f'{kind}/{number}', [None] * count)[min(column, count - 1)] = round(value, 3)
            doubtful = {}
            for name in rows:
                kind, number = name.split('/')
                candidates = self.store.lowest_confidence(kind, int(number), _DOUBT, 40 * _MARKS)
                given = frames_of(self.entries, 'area' if kind == 'object' else 'place', int(number))
                candidates = {frame: value for frame, value in candidates.items() if frame not in given}
                doubtful[name] = [[frame, round(value, 3)] for frame, value in lowest(candidates, _MARKS)]
            return dict(columns=count, rows=rows, doubtful=doubtful)

    # What the user does.

    def check(self, revision: int) -> None:
        """Refuse a change that was made to an older state than this."""
        if revision != self.revision:
            raise ConflictError(
                'Another page has changed this session in the meantime. Its state is shown now: do it again.'
            )

    def check_frame(self, frame: int) -> int:
        """A number of a frame, refused if there is none."""
        if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < len(self.frames):
            raise InputError(
                f'There is no frame {frame!r}: the video has {len(self.frames)}, 0 to {len(self.frames) - 1}.'
            )
        return frame

    def add(self, kind: str) -> int:
        """A new object; its number."""
        if kind != 'object':
            raise InputError('Only an object is added without a place.')
        return self._add(kind)

    def place(self, frame: int, x: float, y: float) -> int:
        """A new point at a place in a frame; its number."""
        return self._add('point', frame, self._checked_place(frame, x, y))

    def _add(self, kind: str, frame: int = NO_FRAME, place: list[float] | None = None) -> int:
        with self.lock:
            followed = {number for known, number in self._followed if known == kind}
            number, changes = edits.added(self.entries, kind, self.store.found_numbers(kind) | followed)
            self._change(changes if place is None else changes | {('place', number, frame): place})
            return number

    def rename(self, kind: str, number: int, name: str) -> None:
        """Call an object or point otherwise."""
        with self.lock:
            self._change(edits.renamed(self.entries, kind, number, name))

    def delete(self, kind: str, number: int) -> None:
        """Take an object or point out, with all that was given for it."""
        with self.lock:
            self._change(edits.deleted(self.entries, kind, number))

    def end(self, kind: str, number: int, frame: int) -> None:
        """Follow an object or point no longer from a frame on."""
        self.check_frame(frame)
        with self.lock:
            self._change(edits.ended(self.entries, kind, number, frame))

    def move(self, number: int, frame: int, x: float, y: float) -> None:
        """Say where a point is in a frame."""
        place = self._checked_place(frame, x, y)
        with self.lock:
            self._change(edits.moved(self.entries, number, frame, place))

    def paint(self, number: int, frame: int, area: np.ndarray) -> None:
        """Say where an object is in a frame, bool ``[H, W]``; see :func:`stt_mm.app.changes.painted`."""
        self.check_frame(frame)
        with self.lock:
            self._change(edits.painted(self.entries, number, frame, area))

    def forget(self, kind: str, number: int, frame: int) -> None:
        """Take back what was given for an object or point in one frame, or that it ends there."""
        with self.lock:
            self._change(edits.forgotten(self.entries, kind, number, frame))

    def undo(self) -> None:
        """Take the last change back."""
        self._travel(back=True)

    def redo(self) -> None:
        """Do again what was undone."""
        self._travel(back=False)

    def _travel(self, back: bool) -> None:
        with self.lock:
            changes, step = self.store.travel(back)
            if not changes:
                raise InputError(f'There is nothing to {"undo" if back else "do again"}.')
            self.store.put(changes, step=step, **self._facts(changes))
            self._take_over(changes)

    def _change(self, changes: Mapping[Key, Any]) -> None:
        if changes:
            self.store.change(changes, **self._facts(changes))
            self._take_over(changes)

    def _facts(self, changes: Mapping[Key, Any]) -> dict[str, Any]:
        waiting = self.store.fact('waiting', {})
        waiting |= {str(frame): self.revision + 1 for _, _, frame in changes if frame != NO_FRAME}
        return dict(revision=self.revision + 1, waiting=waiting)

    def _take_over(self, changes: Mapping[Key, Any]) -> None:
        self.entries = {key: value for key, value in self.entries.items() if key not in changes}
        self.entries |= {key: value for key, value in changes.items() if value is not None}
        self.revision += 1

    def _checked_place(self, frame: int, x: float, y: float) -> list[float]:
        self.check_frame(frame)
        height, width = self.frames.size
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            raise InputError(
                f'The point {x!r:.20}, {y!r:.20} lies outside of the frame, where x is 0 to {width - 1} and y is 0 to '
                f'{height - 1}.'
            )
        return [round(x, 2), round(y, 2)]

    # What a run does.

    def reserve_numbers(self) -> None:
        """Until a run ends, what it follows keeps its number, even if deleted: nothing new gets its results."""
        with self.lock:
            self._followed |= {(kind, number) for kind, number, frame in self.entries if frame == NO_FRAME}

    def keep(self, frame: int, result: FrameResult, order: Sequence[int], run: Mapping[str, Any]) -> None:
        """Save the result of a frame. What the run does not follow there stays as an earlier run found it.

        Args:
            frame: its number in the video.
            result: of the run.
            order: the points by the numbers of the run.
            run: what is known of the run: ``first``, ``last`` and ``reached`` are frames, and it has a ``state``.
        """
        sure = {('object', number): value for number, value in result.confidence.items()}
        points: dict[int, list[float] | None] = {}
        if result.points is not None and result.point_confidence is not None:
            followed = result.points.tolist(), result.point_confidence.tolist()
            for number, (x, y), value in zip(order[: len(result.points)], *followed, strict=True):
                if not np.isnan(value):
                    points[number] = None if x < 0 else [round(x, 2), round(y, 2)]
                    sure['point', number] = value
        with self.lock:
            mask = result.mask
            if before := self.store.result(frame):
                others = {
                    (kind, number): value
                    for (kind, number), value in self.store.confidence_at(frame).items()
                    if (kind, number) not in sure and is_shown(self.entries, kind, number, frame)
                }
                ids = [number for kind, number in others if kind == 'object']
                if ids and before[0] is not None:
                    old = self._ids(before[0])
                    mask = np.zeros_like(old) if mask is None else mask
                    mask = np.where((mask == 0) & np.isin(old, ids), old, mask)
                points = {n: place for n, place in before[1].items() if ('point', n) in others} | points
                sure = others | sure
            png = None if mask is None else cv2.imencode('.png', mask)[1].tobytes()
            self.store.add_result(frame, png, points, sure, run=run)

    def clear_results(self) -> None:
        """Forget all that was found; what was given stays, and waits for a run."""
        with self.lock:
            self.store.clear_results()
            given = {frame for kind, _, frame in self.entries if kind in ('area', 'place')}
            self.store.set_facts(waiting={str(frame): self.revision for frame in given})

    def end_run(self, revision: int, run: Mapping[str, Any]) -> None:
        """Save that a run ended, which began with a revision: what was given before, and reached, waits no longer."""
        reached = range(run['first'], -1 if run['reached'] is None else run['reached'] + 1)
        with self.lock:
            waiting = {
                frame: at
                for frame, at in self.store.fact('waiting', {}).items()
                if at > revision or int(frame) not in reached
            }
            self._followed.clear()
            self.store.set_facts(waiting=waiting, run=run)


_COLORS = display_colors().tolist()
