"""Where the results of one's own video go."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from stt_mm.errors import FileError
from stt_mm.utils.targets import check_distinct, check_file, check_folder

MASK_SUFFIX = '.png'


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
