"""Files of results, written frame by frame."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stt_mm.errors import FileError, InputError


@contextmanager
def json_list(path: str | Path) -> Iterator[Callable[[object], None]]:
    """A function that adds an entry to the JSON list in a file, a line for each; valid JSON also after an error."""
    with open(path, 'w', encoding='utf-8') as file:
        separator = '[\n'

        def add(entry: object) -> None:
            nonlocal separator
            file.write(separator + json.dumps(entry))
            separator = ',\n'

        try:
            yield add
        finally:
            file.write('\n]\n' if separator == ',\n' else '[]\n')


def check_outputs(video: str, out: str | Path | None, mask_dir: str | Path | None,
                  points_json: str | Path | None) -> None:
    """Makes the folders of results and tries to write into them.

    Raises:
        ValueError: results would replace the video ``video``, a file or folder.
        OSError: a folder cannot be written to; the message names it.
    """
    folders = [Path(mask_dir)] if mask_dir else []
    for path in (*folders, *(Path(file) for file in (out, points_json) if file)):
        if path.exists() and Path(video).exists() and path.samefile(video):
            raise InputError(f'{path} is the video itself, which the results would replace. Write them elsewhere.')
    for folder in (*folders, *(Path(file).parent for file in (out, points_json) if file)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise FileError(f'Results cannot be written to the folder {folder} ({error.strerror}). Choose another one '
                            'or change its permissions.') from error
