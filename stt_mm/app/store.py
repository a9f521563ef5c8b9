"""The file of a session: what was given and found for one video, in SQLite, so that no moment leaves half of it."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stt_mm.app.annotations import Key
from stt_mm.errors import FileError, InputError, SttMMError, writing

VERSION = 1
_UNDONE_AT_MOST = 200
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    kind TEXT, number INTEGER, frame INTEGER, value TEXT NOT NULL, PRIMARY KEY (kind, number, frame));
CREATE TABLE IF NOT EXISTS history (
    step INTEGER, kind TEXT, number INTEGER, frame INTEGER, before TEXT, after TEXT,
    PRIMARY KEY (step, kind, number, frame));
CREATE TABLE IF NOT EXISTS results (frame INTEGER PRIMARY KEY, mask BLOB, points TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS result_frames ON results (frame);
CREATE TABLE IF NOT EXISTS confidence (
    kind TEXT, number INTEGER, frame INTEGER, value REAL NOT NULL, PRIMARY KEY (kind, number, frame));
CREATE INDEX IF NOT EXISTS confidence_frames ON confidence (frame);
"""


class Store:
    """One session file; whoever calls holds a lock. What a method changes is on the disk when it returns.

    Args:
        path: the file; it is made if there is none.

    Raises:
        ValueError: another program uses it, or it is no such file. OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._said('written'):
            self._db = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            with self._said('written'):
                self._db.execute('PRAGMA locking_mode=EXCLUSIVE')
                self._db.execute('PRAGMA synchronous=NORMAL')
                self._db.execute('BEGIN EXCLUSIVE')
                for statement in _TABLES.split(';'):
                    self._db.execute(statement)
                self._db.execute('COMMIT')
            self._identity = self._identity_now()
            found = self.fact('version', VERSION)
            if found != VERSION:
                raise InputError(f'{path} is of version {found}, this program reads {VERSION}. Move the folder away.')
            self.set_facts(version=VERSION)
        except SttMMError:
            self.close()
            raise

    def close(self) -> None:
        """Frees the file for others."""
        self._db.close()

    def is_in_place(self) -> bool:
        """Whether the file is still there under its name. SQLite goes on with one that was removed, for nothing."""
        return self._identity_now() == self._identity

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def fact(self, name: str, default: Any = None) -> Any:
        """A value that was set under a name."""
        rows = self._rows('SELECT value FROM facts WHERE name = ?', (name,))
        return self._read(rows[0][0]) if rows else default

    def set_facts(self, **facts: Any) -> None:
        """Set values by name."""
        with self._changes():
            self._put_facts(facts)

    def entries(self) -> dict[Key, Any]:
        """All that the user gave."""
        rows = self._rows('SELECT kind, number, frame, value FROM entries')
        return {(kind, number, frame): self._read(value) for kind, number, frame, value in rows}

    def change(self, changes: Mapping[Key, Any], **facts: Any) -> None:
        """Set entries, or take them away where the value is ``None``, as one step; what was undone is forgotten."""
        step = self.fact('step', 0) + 1
        with self._changes():
            self._db.execute('DELETE FROM history WHERE step >= ? OR step <= ?', (step, step - _UNDONE_AT_MOST))
            for key, value in changes.items():
                before = self._db.execute(
                    'SELECT value FROM entries WHERE kind = ? AND number = ? AND frame = ?', key
                ).fetchone()
                after = None if value is None else json.dumps(value)
                self._db.execute(
                    'INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)', (step, *key, before and before[0], after)
                )
                self._put_entry(key, after)
            self._put_facts(dict(facts, step=step))

    def steps(self) -> tuple[bool, bool]:
        """Whether there is something to undo, and something to do again."""
        step, query = self.fact('step', 0), 'SELECT 1 FROM history WHERE step = ? LIMIT 1'
        return tuple(bool(self._rows(query, (number,))) for number in (step, step + 1))

    def travel(self, back: bool) -> tuple[dict[Key, Any], int]:
        """What has to change to undo the last step, or to do the next one again, and the number of the step then."""
        step = self.fact('step', 0)
        rows = self._rows(
            f'SELECT kind, number, frame, {"before" if back else "after"} FROM history WHERE step = ?',
            (step if back else step + 1,),
        )
        changes = {(kind, number, at): value and self._read(value) for kind, number, at, value in rows}
        return changes, step - 1 if back else step + 1

    def put(self, changes: Mapping[Key, Any], **facts: Any) -> None:
        """Set entries without a step of their own."""
        with self._changes():
            for key, value in changes.items():
                self._put_entry(key, None if value is None else json.dumps(value))
            self._put_facts(facts)

    def result(self, frame: int) -> tuple[bytes | None, dict[int, list[float] | None]] | None:
        """What a run found in a frame: the mask as PNG, and points by number, ``None`` where one is lost."""
        rows = self._rows('SELECT mask, points FROM results WHERE frame = ?', (frame,))
        return (rows[0][0], {int(number): at for number, at in self._read(rows[0][1]).items()}) if rows else None

    def add_result(
        self,
        frame: int,
        mask: bytes | None,
        points: Mapping[int, list[float] | None],
        confidence: Mapping[tuple[str, int], float],
        **facts: Any,
    ) -> None:
        """Put the result of a frame in the place of an earlier one."""
        with self._changes():
            self._db.execute('INSERT OR REPLACE INTO results VALUES (?, ?, ?)', (frame, mask, json.dumps(points)))
            self._db.execute('DELETE FROM confidence WHERE frame = ?', (frame,))
            rows = [(*key, frame, value) for key, value in confidence.items()]
            self._db.executemany('INSERT INTO confidence VALUES (?, ?, ?, ?)', rows)
            self._put_facts(facts)

    def clear_results(self) -> None:
        """Forget all that was found."""
        with self._changes():
            self._db.execute('DELETE FROM results')
            self._db.execute('DELETE FROM confidence')
            self._put_facts(dict(run=None))

    def result_frames(self) -> list[int]:
        """Frames that have a result, rising."""
        return [frame for (frame,) in self._rows('SELECT frame FROM results ORDER BY frame')]

    def num_results(self) -> int:
        """How many frames have a result."""
        return self._rows('SELECT COUNT(*) FROM results')[0][0]

    def found_numbers(self, kind: str) -> set[int]:
        """Objects, or points, that a run has followed."""
        rows = self._rows('SELECT DISTINCT number FROM confidence WHERE kind = ?', (kind,))
        return {number for (number,) in rows}

    def least_confidence(self, frames_per_column: float) -> list[tuple[str, int, int, float]]:
        """(kind, number, column, the least confidence of its frames)."""
        return self._rows(
            'SELECT kind, number, CAST(frame / ? AS INTEGER) AS place, MIN(value) FROM confidence '
            'GROUP BY kind, number, place',
            (float(frames_per_column),),
        )

    def confidence_at(self, frame: int) -> dict[tuple[str, int], float]:
        """Of all that is followed in a frame, by kind and number."""
        rows = self._rows('SELECT kind, number, value FROM confidence WHERE frame = ?', (frame,))
        return {(kind, number): value for kind, number, value in rows}

    def lowest_confidence(self, kind: str, number: int, below: float, count: int) -> dict[int, float]:
        """By frame, the lowest ones first."""
        return dict(
            self._rows(
                'SELECT frame, value FROM confidence WHERE kind = ? AND number = ? AND value < ? '
                'ORDER BY value, frame LIMIT ?',
                (kind, number, below, count),
            )
        )

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        with self._said('read'):
            return self._db.execute(query, values).fetchall()

    def _read(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._damaged(error) from error

    def _put_entry(self, key: Key, value: str | None) -> None:
        if value is None:
            self._db.execute('DELETE FROM entries WHERE kind = ? AND number = ? AND frame = ?', key)
        else:
            self._db.execute('INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)', (*key, value))

    def _put_facts(self, facts: Mapping[str, Any]) -> None:
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        self._db.executemany('INSERT OR REPLACE INTO facts VALUES (?, ?)', rows)

    @contextmanager
    def _changes(self) -> Iterator[None]:
        """All or nothing."""
        with self._said('written'):
            self._db.execute('BEGIN')
            try:
                yield
                self._db.execute('COMMIT')
            except BaseException:
                # SQLite itself takes back what a full disk has stopped.
                if self._db.in_transaction:
                    self._db.execute('ROLLBACK')
                raise

    @contextmanager
    def _said(self, done: str) -> Iterator[None]:
        """What SQLite refuses is said with the name of the file; how it is called wrongly is a fault of the code."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if 'locked' in str(error):
                raise InputError(
                    f'{self.path.parent} is open in another program of this kind. Use its page, or end it.'
                ) from error
            raise FileError(f'{self.path} cannot be {done}: {error}.') from error
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f'{self.path} is no session, or it is damaged ({error}). Move the folder away to begin anew.')
