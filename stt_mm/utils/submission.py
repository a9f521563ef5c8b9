"""Zip files of predicted masks, as benchmark servers want them."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.targets import check_file


def write_submission(path: str | Path, files: Mapping[str, str | Path]) -> None:
    """Packs files, by their names inside, into a zip, whole or not at all; the same files give the same bytes."""
    path = Path(path)
    if path.suffix.lower() != '.zip':
        raise InputError(f'A submission is a .zip file, got {path}.')
    check_file(path, files.values())
    missing = [str(file) for file in files.values() if not Path(file).is_file()]
    if missing:
        raise MissingInputError(
            f'Submission {path}: {len(missing)} of {len(files)} masks are missing, the first is {missing[0]}. All '
            'ranks, and a run that was resumed, must write their masks to the same folder.'
        )
    with io.BytesIO() as buffer:
        # PNGs are compressed already.
        with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_STORED) as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name), Path(files[name]).read_bytes())
        write_atomically(buffer.getvalue(), path)
