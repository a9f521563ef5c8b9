"""The file of a session: what was given and found for one video, in SQLite, so that no moment leaves half of it."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stt_mm.app.annotations import Key
from stt_mm.errors import FileError, InputError, writing

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
        try:
            self._db = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
            self._db.execute('PRAGMA locking_mode=EXCLUSIVE')
            self._db.execute('PRAGMA synchronous=NORMAL')
            self._db.execute('BEGIN EXCLUSIVE')
            for statement in _TABLES.split(';'):
                self._db.execute(statement)
            self._db.execute('COMMIT')
        except sqlite3.DatabaseError as error:
            if 'locked' in str(error):
                raise InputError(
                    f'{path.parent} is open in another program of this kind. Use its page, or end it.'
                ) from error
            if isinstance(error, sqlite3.OperationalError):
                raise FileError(f'{path} cannot be written: {error}.') from error
            raise InputError(
                f'{path} is no session, or it is damaged ({error}). Move the folder away to begin anew.'
            ) from error
        found = self.fact('version', VERSION)
        if found != VERSION:
            self.close()
            raise InputError(f'{path} is of version {found}, this program reads {VERSION}. Move the folder away.')
        self.set_facts(version=VERSION)

    def close(self) -> None:
        """Frees the file for others."""
        self._db.close()

    def fact(self, name: str, default: Any = None) -> Any:
        """A value that was set under a name."""
        row = self._db.execute('SELECT value FROM facts WHERE name = ?', (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set_facts(self, **facts: Any) -> None:
        """Set values by name."""
        with self._changes():
            self._put_facts(facts)

    def entries(self) -> dict[Key, Any]:
        """All that the user gave."""
        rows = self._db.execute('SELECT kind, number, frame, value FROM entries')
        return {(kind, number, frame): json.loads(value) for kind, number, frame, value in rows}

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
        return tuple(self._db.execute(query, (number,)).fetchone() is not None for number in (step, step + 1))

    def travel(self, back: bool) -> tuple[dict[Key, Any], int]:
        """What has to change to undo the last step, or to do the next one again, and the number of the step then."""
        step = self.fact('step', 0)
        rows = self._db.execute(
            f'SELECT kind, number, frame, {"before" if back else "after"} FROM history WHERE step = ?',
            (step if back else step + 1,),
        ).fetchall()
        changes = {(kind, number, at): value and json.loads(value) for kind, number, at, value in rows}
        return changes, step - 1 if back else step + 1

    def put(self, changes: Mapping[Key, Any], **facts: Any) -> None:
        """Set entries without a step of their own."""
        with self._changes():
            for key, value in changes.items():
                self._put_entry(key, None if value is None else json.dumps(value))
            self._put_facts(facts)

    def result(self, frame: int) -> tuple[bytes | None, dict[int, list[float] | None]] | None:
        """What a run found in a frame: the mask as PNG, and points by number, ``None`` where one is lost."""
        row = self._db.execute('SELECT mask, points FROM results WHERE frame = ?', (frame,)).fetchone()
        return row and (row[0], {int(number): place for number, place in json.loads(row[1]).items()})

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
        return [frame for (frame,) in self._db.execute('SELECT frame FROM results ORDER BY frame')]

    def num_results(self) -> int:
        """How many frames have a result."""
        return self._db.execute('SELECT COUNT(*) FROM results').fetchone()[0]

    def found_numbers(self, kind: str) -> set[int]:
        """Objects, or points, that a run has followed."""
        rows = self._db.execute('SELECT DISTINCT number FROM confidence WHERE kind = ?', (kind,))
        return {number for (number,) in rows}

    def least_confidence(self, frames_per_column: float) -> Iterator[tuple[str, int, int, float]]:
        """(kind, number, column, the least confidence of its frames)."""
        return self._db.execute(
            'SELECT kind, number, CAST(frame / ? AS INTEGER) AS place, MIN(value) FROM confidence '
            'GROUP BY kind, number, place',
            (float(frames_per_column),),
        )

    def confidence_at(self, frame: int) -> dict[tuple[str, int], float]:
        """Of all that is followed in a frame, by kind and number."""
        rows = self._db.execute('SELECT kind, number, value FROM confidence WHERE frame = ?', (frame,))
        return {(kind, number): value for kind, number, value in rows}

    def lowest_confidence(self, kind: str, number: int, below: float, count: int) -> dict[int, float]:
        """By frame, the lowest ones first."""
        return dict(
            self._db.execute(
                'SELECT frame, value FROM confidence WHERE kind = ? AND number = ? AND value < ? '
                'ORDER BY value, frame LIMIT ?',
                (kind, number, below, count),
            )
        )

    def _put_entry(self, key: Key, value: str | None) -> None:
        if value is None:
            self._db.execute('DELETE FROM entries WHERE kind = ? AND number = ? AND frame = ?', key)
        else:
            self._db.execute('INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)', (*key, value))

    def _put_facts(self, facts: Mapping[str, Any]) -> None:
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        self._db.executemany('INSERT OR REPLACE INTO facts VALUES (?, ?)', rows)

    def _changes(self) -> '_Transaction':
        return _Transaction(self._db, self.path)


class _Transaction:
    """All or nothing; what the disk refuses is said with the name of the file."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path

    def __enter__(self) -> None:
        self._db.execute('BEGIN')

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._db.execute('COMMIT')
        except sqlite3.OperationalError as refused:
            self._db.execute('ROLLBACK')
            raise FileError(f'{self._path} cannot be written: {refused}.') from refused
        if kind is not None and self._db.in_transaction:
            self._db.execute('ROLLBACK')
        if isinstance(error, sqlite3.OperationalError):
            raise FileError(f'{self._path} cannot be written: {error}.') from error
