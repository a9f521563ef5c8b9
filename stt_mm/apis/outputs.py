"""Files of results, written frame by frame."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stt_mm.errors import FileError, writing
from stt_mm.utils.targets import check_distinct, check_file, check_folder

MASK_SUFFIX = '.png'


@contextmanager
def json_list(path: str | Path) -> Iterator[Callable[[object], None]]:
    """A function that adds an entry to the JSON list in a file, a line for each; valid JSON also after an error."""
    separator = '[\n'
    with writing(path):
        file = open(path, 'w', encoding='utf-8')  # noqa: SIM115 closed below, where what it holds back is written

    def add(entry: object) -> None:
        nonlocal separator
        with writing(path):
            file.write(separator + json.dumps(entry))
        separator = ',\n'

    try:
        yield add
    finally:
        with writing(path), file:
            file.write('\n]\n' if separator == ',\n' else '[]\n')


def check_outputs(
    sources: Iterable[str | Path | None],
    out: str | Path | None,
    mask_dir: str | Path | None,
    points_json: str | Path | None,
    owner: str,
    overwrite: bool = False,
) -> None:
    """Makes the folders of results and tries to write into them.

    Args:
        sources: all files that are read.
        out, mask_dir, points_json: where results go; ``None`` for those that are not wanted.
        owner: what ``mask_dir`` is for; see :func:`stt_mm.utils.targets.check_folder`.
        overwrite: the masks of another result may be removed.

    Raises:
        ValueError: results would replace something that is read, or each other, or the masks of another result.
        OSError: a folder cannot be written to; the message names it.
    """
    sources = list(sources)
    files = {what: file for what, file in (('the video', out), ('the points', points_json)) if file}
    check_distinct(files | ({'the masks': mask_dir} if mask_dir else {}))
    for file in files.values():
        check_file(file, sources)
    if mask_dir:
        check_folder(mask_dir, owner, MASK_SUFFIX, sources, overwrite)
    for folder in (*([Path(mask_dir)] if mask_dir else []), *(Path(file).parent for file in files.values())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise FileError(
                f'Results cannot be written to the folder {folder} ({error.strerror}). Choose another one '
                'or change its permissions.'
            ) from error
