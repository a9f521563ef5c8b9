"""What the page can ask for: videos, sessions, and the one job at a time. Knows nothing of HTTP but its statuses."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stt_mm.apis import VideoPropagator
from stt_mm.app.exports import FORMS, export, export_path
from stt_mm.app.library import Library
from stt_mm.app.session import ConflictError, Session, session_folder
from stt_mm.app.work import Worker, propagate
from stt_mm.errors import InputError, MissingInputError

_COLUMNS = 600
_SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        body: bytes, or the file that holds them.
        kind: its type.
        status: of HTTP.
        keeps: whether a browser may keep it for a while.
        packs: whether it gets smaller by packing.
        name: under which it is to be saved; ``None`` for what is shown.
    """

    body: bytes | Path
    kind: str = 'application/json'
    status: HTTPStatus = HTTPStatus.OK
    keeps: bool = False
    packs: bool = False
    name: str | None = None


class Studio:
    """All that the page works with.

    Args:
        library: the folder of the videos.
        propagator: the network.
        first: name of the video that is shown first; ``None`` to let the user choose.
    """

    def __init__(self, library: Library, propagator: VideoPropagator, first: str | None = None) -> None:
        self.library = library
        self.propagator = propagator
        self.first = first
        self.worker = Worker()
        self._sessions: dict[str, Session] = {}
        self._opening: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._ends = False

    def close(self) -> None:
        """End the job that is at work after its frame, and free all files."""
        self.worker.stop(_SECONDS_TO_STOP)
        with self._lock:
            self._ends = True
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()

    def session(self, name: str) -> Session:
        """The session of a video, which is opened if it is not yet."""
        path = self.library.video(name)
        with self._lock:
            opening = self._opening.setdefault(name, threading.Lock())
        # A long video takes its time, in which others are served.
        with opening:
            if name in self._sessions and not self._sessions[name].is_current():
                if self.worker.works_on(name):
                    self.worker.stop()
                    raise ConflictError(
                        f'{name} or {session_folder(path).name} was replaced or removed while it is at work. It ends '
                        'after its frame, and is opened anew.'
                    )
                self._sessions.pop(name).close()
            session = self._sessions.get(name)
            if session is None:
                self.library.check_links(session_folder(path))
                session = Session(path)
            with self._lock:
                if self._ends:
                    session.close()
                    raise InputError('The program is ending.')
                self._sessions[name] = session
            return session

    def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """Answer what changes nothing."""
        if path == '/api/library':
            return _as_json(
                dict(
                    root=str(self.library.root),
                    entries=self.library.entries(query.get('folder', '')),
                    first=self.first,
                    max_upload=self.library.max_upload,
                )
            )
        if path not in ('/api/state', '/api/frame', '/api/shown', '/api/confidence', '/api/download'):
            raise MissingInputError(f'There is no {path}.')
        session = self.session(query.get('video', ''))
        if path == '/api/state':
            return self._state(query['video'], session)
        if path == '/api/confidence':
            return _as_json(session.confidence(_COLUMNS))
        if path == '/api/download':
            form = query.get('form', '')
            file = export_path(session, form)
            if not file.is_file():
                raise MissingInputError(f'{file.name} is not written yet: export it first.')
            return Reply(file, FORMS[form][1], name=file.name)
        frame = session.check_frame(_number(query, 'frame'))
        if path == '/api/frame':
            return Reply(session.frames.jpeg(frame), 'image/jpeg', keeps='key' in query)
        details = json.dumps(session.details(frame)).encode()
        return Reply(details + b'\n' + session.mask(frame).tobytes(), 'application/octet-stream', packs=True)

    def put(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Take the area of an object in a frame: a bit for each pixel, row by row."""
        if path != '/api/area':
            raise MissingInputError(f'There is no {path}.')
        session = self.session(query.get('video', ''))
        height, width = session.frames.size
        if len(body) != -(-height * width // 8):
            raise InputError(
                f'An area of {width}x{height} pixels (width x height) has {-(-height * width // 8)} bytes, a bit for '
                f'each; got {len(body)}.'
            )
        bits = np.unpackbits(np.frombuffer(body, np.uint8), count=height * width)
        with session.lock:
            session.check(_number(query, 'revision'))
            session.paint(_number(query, 'object'), _number(query, 'frame'), bits.reshape(height, width).astype(bool))
        return self._state(query['video'], session)

    def post(self, path: str, query: Mapping[str, str], content: Mapping[str, Any]) -> Reply:
        """Do what changes something, and return the state after it."""
        if path == '/api/stop':
            self.worker.stop()
            return _as_json(dict(job=self.worker.state()))
        if path not in ('/api/edit', '/api/run', '/api/export'):
            raise MissingInputError(f'There is no {path}.')
        name = query.get('video', '')
        session = self.session(name)
        if path == '/api/run':
            direction, start = content.get('direction'), content.get('start')
            job = propagate(session, self.propagator, direction, start)
            self.worker.start(name, 'run', direction, job)
        elif path == '/api/export':
            form = content.get('form')
            self.worker.start(name, 'export', form, export(session, form))
        else:
            if content.get('action') == 'clear' and self.worker.works_on(name):
                raise ConflictError('The results are at work. Clear them when it has ended, or stop it.')
            with session.lock:
                session.check(content.get('revision'))
                self._edit(session, content)
        return self._state(name, session)

    def upload(self, stream: BinaryIO, length: int) -> Reply:
        """Take in a video."""
        return _as_json(dict(video=self.library.upload(stream, length)))

    def _edit(self, session: Session, content: Mapping[str, Any]) -> None:
        action = content.get('action')
        edits = {
            'add': (session.add, 'kind'),
            'rename': (session.rename, 'kind number name'),
            'delete': (session.delete, 'kind number'),
            'end': (session.end, 'kind number frame'),
            'forget': (session.forget, 'kind number frame'),
            'point': (session.place, 'frame x y'),
            'move': (session.move, 'number frame x y'),
            'undo': (session.undo, ''),
            'redo': (session.redo, ''),
            'clear': (session.clear_results, ''),
        }
        if not isinstance(action, str) or action not in edits:
            raise InputError(f'An edit is one of {", ".join(edits)}, got {action!r}.')
        edit, names = edits[action]
        edit(**{name: _checked(name, content.get(name)) for name in names.split()})

    def _state(self, name: str, session: Session) -> Reply:
        return _as_json(dict(session.state(), job=self.worker.state(), video=name))


_KINDS = {'number': (int,), 'frame': (int,), 'x': (int, float), 'y': (int, float), 'name': (str,), 'kind': (str,)}


def _checked(name: str, value: Any) -> Any:
    """A value of an edit, of the type that it must have."""
    if type(value) not in _KINDS[name] or name == 'kind' and value not in ('object', 'point'):
        raise InputError(f'An edit needs a {name} ({_KINDS[name][-1].__name__}), got {value!r:.80}.')
    return value


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, '')
    if not (text.isdecimal() and len(text) < 10):
        raise InputError(f'{name} must be a whole number, got {text!r:.80}.')
    return int(text)


def _as_json(content: Any) -> Reply:
    return Reply(json.dumps(content, separators=(',', ':')).encode(), packs=True)
