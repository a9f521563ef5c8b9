"""Records of finished videos on disk, by which an evaluation that was interrupted goes on."""

import hashlib
import json
from pathlib import Path

from mmengine.logging import MMLogger

from stt_mm.errors import InputError
from stt_mm.evaluation.metrics.dumped import files_are_there
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.targets import inside
from stt_mm.utils.text import read_json

ENTRY_KEYS = {'video_id', 'run_id', 'protocol', 'max_frames', 'files', 'record'}


def write_record(out_dir: str, name: str, entry: dict) -> None:
    """Writes the record of one video, with a checksum."""
    path = inside(Path(out_dir, 'videos', name), f'{entry["video_id"]}.json')
    write_atomically(f'{json.dumps(dict(entry, sha8=_sha8(entry)))}\n'.encode(), path)


def read_records(out_dir: str, name: str, run_id: str, dump: str | None = None) -> list[dict]:
    """Records of finished videos that a metric left in ``<out_dir>/videos/<name>``, sorted by video.

    A record that cannot be read, or is not as it was written, counts as not there, with a warning that names the file.
    So does that of a video whose masks or points are wanted and are not there as this run wrote them.

    Returns:
        Dicts with the keys ``ENTRY_KEYS``.

    Raises:
        ValueError: a record belongs to another run.
    """
    folder, entries, without = Path(out_dir, 'videos', name), [], []
    for path in folder.rglob('*.json'):
        try:
            entry = read_json(path)
        except ValueError as error:
            _warn_damaged(path, str(error))
            continue
        sha8 = entry.pop('sha8', None) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or entry.keys() != ENTRY_KEYS:
            _warn_damaged(path, f'expected an object with {", ".join(sorted(ENTRY_KEYS))}')
        elif sha8 != _sha8(entry):
            _warn_damaged(path, 'its content does not fit its sha8')
        elif entry['run_id'] != run_id:
            raise InputError(
                f'{path} belongs to run {entry["run_id"]!r}, this is run {run_id!r}: the checkpoint, the protocol, '
                f'the metric or the data differ. To start afresh, delete {folder} or choose another out_dir.'
            )
        elif dump is not None and not files_are_there(dump, run_id, entry):
            without.append(entry['video_id'])
        else:
            entries.append(entry)
    if without:
        MMLogger.get_current_instance().warning(
            '%d finished videos have no files, or not those of this run, in %s (%s%s); they count as not done.',
            len(without),
            dump,
            ', '.join(sorted(without)[:5]),
            ', ...' if len(without) > 5 else '',
        )
    return sorted(entries, key=lambda entry: entry['video_id'])


def completed(out_dir: str, name: str, run_id: str, dump: str | None = None) -> list[str]:
    """Ids of the videos that a run has finished; see :func:`read_records` for arguments and errors."""
    return [entry['video_id'] for entry in read_records(out_dir, name, run_id, dump)]


def forget_records(out_dir: str, name: str) -> None:
    """Removes the records of a metric in ``out_dir``, of whatever run, so that a later one never mixes the two.

    Other files stay, as do records that are damaged.
    """
    for path in Path(out_dir, 'videos', name).rglob('*.json'):
        try:
            entry = read_json(path)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.keys() >= {'video_id', 'run_id', 'record'}:
            path.unlink()


def _sha8(entry: dict) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:8]


def _warn_damaged(path: Path, reason: str) -> None:
    MMLogger.get_current_instance().warning('%s is damaged (%s); its video counts as not done.', path, reason)
