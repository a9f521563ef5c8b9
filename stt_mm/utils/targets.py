"""Where results may go: never onto what is read, out of the folder that was named, or in among other files.

A file that is named is replaced. A folder that is named belongs to one result: it holds a small hidden file that says
which, and only that result is replaced without being asked.
"""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from stt_mm.errors import FileError, InputError, writing
from stt_mm.utils.images import list_images
from stt_mm.utils.text import check_name

logger = logging.getLogger(__name__)

MARK = '.stt_mm'
# A folder with more entries holds classes, videos or frames: those below it are not listed, which takes minutes.
_FEW = 100
_ELSEWHERE = 'Name another place for the results.'

Source = str | Path | None


def check_file(path: str | Path, sources: Iterable[Source] = (), overwrite: bool = True) -> None:
    """Refuse a file to write that is one of the files that are read, whatever links lead there.

    Args:
        path: the file to write.
        sources: files that are read, and folders of which no file may be replaced. ``None`` and what does not exist
            are passed over.
        overwrite: whether it may be there already, and is replaced.
    """
    if os.path.isdir(path):
        raise InputError(f'{path} is a folder, but the result is a file. Name a file.')
    above = set(filter(None, map(_identity, _upwards(path)))) if os.path.exists(path) else set()
    for source in _existing(sources):
        if _identity(source) in above:
            what = f'lies in {source}, whose files are' if os.path.isdir(source) else _named(path, source)
            raise InputError(f'{path} {what} read here and would be replaced. {_ELSEWHERE}')
    if not overwrite and os.path.exists(path):
        raise FileError(f'{path} exists. Name another file or add --overwrite to replace it.')


def check_apart(path: str | Path, sources: Iterable[Source]) -> None:
    """Refuse a folder for results that is, or lies in, a folder that is read: results would pass for data there."""
    above = set(filter(None, map(_identity, _upwards(path))))
    for source in _existing(sources):
        if _identity(source) in above:
            raise InputError(f'{path} is, or lies in, {source}, which is read. {_ELSEWHERE}')


def check_folder(
    path: str | Path, owner: str, suffix: str | tuple[str, ...], sources: Iterable[Source] = (), overwrite: bool = False
) -> None:
    """Refuse a folder for many result files that is not free for them.

    Args:
        path: the folder; it need not exist.
        owner: the result that the folder is for, in words that tell it from any other.
        suffix: of the files that are going to be written; or several, if they are of several kinds.
        sources: files and folders that are read.
        overwrite: the files of another result may be removed.

    Raises:
        ValueError: the folder is, lies in or holds something that is read; or it holds the files of another result,
            without ``overwrite``; or with it, anything else than such files.
    """
    sources = list(_existing(sources))
    check_apart(path, sources)
    if not os.path.lexists(path):
        return
    if not os.path.isdir(path):
        raise FileError(f'{path} is a file, but the results need a folder. {_ELSEWHERE}')
    own = _identity(path)
    for source in sources:
        if own in map(_identity, _upwards(source)):
            raise InputError(f'{path} holds {source}, which is read. {_ELSEWHERE}')
    before = owner_of(path)
    files = [] if before == owner else list(_files(path))
    if not files:
        return
    if not overwrite:
        what = f'holds {before or f"{len(files)} other files, such as {files[0].name}"}'
        raise InputError(
            f'{path} {what}, and the results would mix. Name another folder, or add --overwrite '
            '(overwrite=True in Python) to remove what is there.'
        )
    kinds = suffix if isinstance(suffix, str) else ' or '.join(suffix)
    for file in files:
        if not file.name.lower().endswith(suffix) or file.is_symlink():
            raise InputError(
                f'{path} holds {file.relative_to(path)}, which is no {kinds} file of results, so it is '
                'not emptied. Remove it, or name another folder.'
            )


def make_folder(path: str | Path) -> None:
    """Make a folder for results, unless it is there.

    Raises:
        OSError: a file has its name, or the system refuses it.
    """
    if os.path.lexists(path) and not os.path.isdir(path):
        raise FileError(f'{path} is a file, but the results need a folder. {_ELSEWHERE}')
    with writing(path):
        Path(path).mkdir(parents=True, exist_ok=True)


@contextmanager
def alone_in(folder: str | Path, what: str) -> Iterator[None]:
    """Refuse a folder in which another process does the same at the moment, such as ``training``; it must exist.

    The lock is the system's, so that a killed process leaves none. Where there are no such locks, nothing is refused.

    Raises:
        ValueError: another process is at work there.
    """
    path = Path(folder, f'{MARK}.{what}')
    with writing(path):
        file = path.open('a')
    with file:
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(
                f'Another {what} is at work in {folder}. Wait for its end, or name another --work-dir.'
            ) from None
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def claim_folder(
    path: str | Path, owner: str, suffix: str | tuple[str, ...], sources: Iterable[Source] = (), overwrite: bool = False
) -> None:
    """Make a folder for the files of one result, empty of those of any other; see :func:`check_folder`.

    What is there of the same owner stays: the same command writes the same files again.
    """
    check_folder(path, owner, suffix, sources, overwrite)
    path = Path(path)
    make_folder(path)
    if owner_of(path) != owner:
        files = [file for file in _files(path) if file.name.lower().endswith(suffix)]
        if files:
            logger.warning('%s: %d files are removed, as overwrite says.', path, len(files))
        for file in files:
            file.unlink()
            with suppress(OSError):
                file.parent.relative_to(path).name and file.parent.rmdir()
        (path / MARK).unlink(missing_ok=True)
        (path / MARK).write_text(f'{owner}\n', encoding='utf-8')


def state_of(source: str | Path) -> str:
    """A source of frames in words that change with what it holds, to tell the results of one state from another's.

    Args:
        source: a file, a folder of images, or what is there only once, such as ``camera 0``.

    Returns:
        The path with a digest of the names, sizes and times of its files; or the source with the time.
    """
    path = Path(source).resolve()
    if not path.exists():
        return f'{source} (at {time.time_ns()})'
    stats = [(os.path.basename(file), os.stat(file)) for file in (list_images(path) if path.is_dir() else [path])]
    text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    return f'{path} (state {hashlib.sha256(text.encode()).hexdigest()[:8]})'


def owner_of(folder: str | Path) -> str | None:
    """What a folder of results was claimed for; ``None`` if it was not."""
    try:
        return Path(folder, MARK).read_text(encoding='utf-8').rstrip('\n')
    except (OSError, ValueError):
        return None


def inside(folder: str | Path, name: str) -> Path:
    """The path of a name below a folder, refused if it leads out, by itself (see :func:`check_name`) or by a link."""
    check_name(name, f'What is to be written to {folder}')
    path = Path(folder, name)
    if not path.resolve().is_relative_to(Path(folder).resolve()):
        raise InputError(f'{path} leads to {path.resolve()}, out of {folder}. {_ELSEWHERE}')
    return path


def check_distinct(targets: Mapping[str, str | Path]) -> None:
    """Refuse two things that would be written to one place; what is written, in words, has its file or folder."""
    found: dict[str, str] = {}
    ignores_case = cache(_ignores_case)
    for what, path in targets.items():
        place = Path(path).resolve()
        folder = next((parent for parent in place.parents if parent.is_dir()), place)
        other = found.setdefault(str(place).casefold() if ignores_case(folder) else str(place), what)
        if other != what:
            raise InputError(
                f'{other} and {what} would both be written to {path}. Rename one, or name another place '
                'for one of them.'
            )


def _existing(sources: Iterable[Source]) -> Iterator[str | Path]:
    """Those that are there, and what links in a folder, or in the folders right in it, lead to."""
    for source in filter(None, sources):
        if os.path.exists(source):
            yield source
            yield from _links(source, depth=2)


def _links(folder: str | Path, depth: int) -> Iterator[str]:
    if not depth or not os.path.isdir(folder):
        return
    with suppress(OSError), os.scandir(folder) as found:
        entries = list(found)
        for entry in entries:
            if entry.is_symlink():
                if os.path.exists(entry.path):
                    yield entry.path
            elif len(entries) <= _FEW:
                yield from _links(entry.path, depth - 1)


def _identity(path: str | Path) -> tuple[int, int] | None:
    """What links and spellings of one file have in common."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _upwards(path: str | Path) -> list[Path]:
    place = Path(path).resolve()
    return [place, *place.parents]


def _named(path: str | Path, source: str | Path) -> str:
    return 'is' if os.path.abspath(path) == os.path.abspath(source) else f'is the same file as {source}, which is'


def _files(folder: str | Path) -> Iterable[Path]:
    """All files of a folder and those below it, and links; hidden ones are passed over."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        yield from (Path(root, name) for name in sorted([*names, *links]) if not name.startswith('.'))


def _ignores_case(folder: Path) -> bool:
    """Whether ``a`` and ``A`` are one file in a folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            return Path(file.name).with_name(Path(file.name).name.upper()).exists()
    except OSError:
        return False
