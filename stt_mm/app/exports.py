"""Files of what is shown, for other programs."""

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from stt_mm.apis import FrameResult
from stt_mm.app.annotations import Entries, names_of, numbers
from stt_mm.app.session import Session
from stt_mm.app.work import Worker
from stt_mm.errors import FileError, InputError, writing
from stt_mm.utils import write_mask
from stt_mm.utils.mask_file import MaskFileWriter
from stt_mm.utils.text import json_list
from stt_mm.utils.video import open_video
from stt_mm.visualization import VideoWriter
from stt_mm.visualization.video import rate_of

# Suffix of the file and its type.
FORMS = {
    'png': ('_masks.zip', 'application/zip'),
    'coco': ('_masks.json', 'application/json'),
    'points': ('_points.json', 'application/json'),
    'video': ('.mp4', 'video/mp4'),
}


def export_path(session: Session, form: str) -> Path:
    """The file of an export, below the folder of the session."""
    if not isinstance(form, str) or form not in FORMS:
        raise InputError(f'An export is one of {", ".join(FORMS)}, got {form!r}.')
    return session.folder / 'exports' / f'{session.frames.path.stem}{FORMS[form][0]}'


def export(session: Session, form: str) -> Callable[[Worker], str]:
    """A job that writes the file of a form; it replaces an earlier one when it is whole.

    * ``png``: palette PNGs, one for each frame for which something was given or found, in a zip file.
    * ``coco``: their masks as run lengths; an object is a category and has a ``track_id``.
    * ``points``: a list with ``{"index", "name", "time", "points"}`` per frame, as
      :class:`stt_mm.apis.VideoPropagator` writes it.
    * ``video``: all frames with the objects and points over them, H.264.

    Raises:
        ValueError: there is nothing of this kind to export.
    """
    path = export_path(session, form)
    with session.lock:
        entries, frames = session.entries, session.shown_frames()  # what changes while it is written is not mixed in
    if not frames:
        raise InputError('There is nothing to export yet: paint an object or set a point, and propagate.')
    for wanted, kind, what in (('png', 'object', 'masks'), ('coco', 'object', 'masks'), ('points', 'point', 'points')):
        if form == wanted and not numbers(entries, kind):
            raise InputError(f'There are no {what} to export.')

    def job(worker: Worker) -> str:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f'.{path.name}')  # there is one job at a time, and one program for a session
        try:
            _WRITERS[form](session, entries, frames, part, worker)
            with writing(path):
                os.replace(part, path)
        except FileError as error:
            raise FileError(str(error).replace(str(part), str(path))) from error
        finally:
            part.unlink(missing_ok=True)
        return f'{path.name} is written, {path.stat().st_size / 1e3:.0f} kB.'

    return job


def _write_png(session: Session, entries: Entries, frames: list[int], path: Path, worker: Worker) -> None:
    with writing(path), zipfile.ZipFile(path, 'w') as archive, tempfile.TemporaryDirectory() as folder:
        for done, frame in enumerate(frames):
            worker.reach(done, len(frames))
            picture = Path(folder, f'{session.frames.names[frame]}.png')
            write_mask(picture, session.mask(frame, entries))
            archive.write(picture, picture.name)
            picture.unlink()


def _write_coco(session: Session, entries: Entries, frames: list[int], path: Path, worker: Worker) -> None:
    with MaskFileWriter(path, names_of(entries)) as file:
        for done, frame in enumerate(frames):
            worker.reach(done, len(frames))
            file.add(session.frames.image_name(frame), session.mask(frame, entries), frame)


def _write_points(session: Session, entries: Entries, frames: list[int], path: Path, worker: Worker) -> None:
    wanted = set(frames)
    with json_list(path) as add_row:
        for result in _results(session, entries, worker):
            if result.frame_index in wanted:
                add_row(result.row())


def _write_video(session: Session, entries: Entries, frames: list[int], path: Path, worker: Worker) -> None:
    with VideoWriter(path, rate_of(session.frames.fps, path)) as film:
        for result in _results(session, entries, worker):
            film.write(result.picture(), result.time)


def _results(session: Session, entries: Entries, worker: Worker) -> Iterator[FrameResult]:
    """What is shown in all frames, one after the other."""
    count, points = len(session.frames), numbers(entries, 'point')
    stream = open_video(str(session.frames.path))
    for frame, (name, picture, seconds) in enumerate(islice(stream.frames, count)):
        worker.reach(frame, count)
        places = session.places(frame, entries)
        found = [places.get(number) or (-1, -1) for number in points]
        places = np.array(found, np.float32).reshape(-1, 2)
        yield FrameResult(frame, name, picture, session.mask(frame, entries), places, seconds)


_WRITERS = {'png': _write_png, 'coco': _write_coco, 'points': _write_points, 'video': _write_video}
