"""Text and JSON files as people's programs write them: one reader for all lists, tables and settings."""

import codecs
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from stt_mm.errors import FileError, InputError, MissingInputError, writing

# UTF-32 before UTF-16: the mark of the one begins with that of the other.
_MARKS = {
    codecs.BOM_UTF8: 'utf-8',
    codecs.BOM_UTF32_LE: 'utf-32-le',
    codecs.BOM_UTF32_BE: 'utf-32-be',
    codecs.BOM_UTF16_LE: 'utf-16-le',
    codecs.BOM_UTF16_BE: 'utf-16-be',
}


def absent(path: str | Path, kind: Literal['file', 'folder']) -> str:
    """Why a path is no file, or no folder: nothing is there, or the other of the two."""
    return (
        f'{path} is a {"folder" if kind == "file" else "file"}, no {kind}'
        if os.path.exists(path)
        else (f'no {kind} {path}')
    )


def check_there(path: str | Path, kind: Literal['file', 'folder'], data: str, layout: str, advice: str) -> None:
    """Refuse data of which a file or folder is missing, with the layout that is expected and what to do."""
    if not (os.path.isfile(path) if kind == 'file' else os.path.isdir(path)):
        raise MissingInputError(f'{data}: {absent(path, kind)}. Expected {layout}. {advice}')


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, without that mark."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingInputError(f'No such file: {path}.') from None
    except OSError as error:
        raise FileError(f'{path} cannot be read: {error.strerror or error}.') from error
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b'')
    encoding = _MARKS.get(mark, 'utf-8')
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        place = len(mark) + error.start
        raise InputError(
            f'{path} is no {encoding.upper()} text: byte {place} is 0x{data[place]:02x} ({error.reason}). Save it as '
            'UTF-8.'
        ) from error
    if '\0' in text:
        place = len(mark) + len(text[: text.index('\0')].encode(encoding))
        raise InputError(
            f'{path} is no text: byte {place} is 0. If it is UTF-16 without a byte order mark, save it as UTF-8; else '
            'it is another kind of file, or damaged.'
        )
    return text


def without_mark(data: bytes) -> bytes:
    """The start of a file that may be text, in UTF-8 without a byte order mark; other data as they are."""
    mark = next((mark for mark in _MARKS if data.startswith(mark)), None)
    return data if mark is None else data[len(mark) :].decode(_MARKS[mark], 'ignore').encode()


def read_json(path: str | Path) -> Any:
    """The content of a JSON file, decoded as :func:`read_text` does."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = 'nested too deeply' if isinstance(error, RecursionError) else error
        raise InputError(f'{path} is no valid JSON: {reason}. Repair it, or make or download it again.') from error


def read_lines(path: str | Path) -> list[str]:
    """The lines of a list that hold more than blanks, each without blanks and invisible characters at its ends.

    Blanks of any kind and number within a line become one space.

    Raises:
        FileNotFoundError, OSError, ValueError: as :func:`read_text`, or a name has an invisible character in it, which
            would be looked for in vain.
    """
    lines = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = ' '.join(filter(None, map(_trimmed, line.split())))
        if found := invisible(words):
            raise InputError(f'{path}, line {number} holds the invisible character {found}: {words!a}. Remove it.')
        if words:
            lines.append(words)
    return lines


def read_words(path: str | Path) -> list[list[str]]:
    """The words of each line of a list, see :func:`read_lines`; backslashes of Windows paths become slashes."""
    lines = [line.replace('\\', '/').split() for line in read_lines(path)]
    for word in (word for words in lines for word in words if _too_long(word)):
        raise InputError(f'{path} holds a word that no file can be called: {word[:40]!a}... of {len(word)} characters.')
    return lines


def read_names(path: str | Path) -> list[str]:
    """The first word of each line, each once, without a slash at its end: the names of videos or folders."""
    return list(dict.fromkeys(words[0].rstrip('/') for words in read_words(path)))


def read_list(path: str | Path, what: str, read: Callable[[str | Path], list[str]] = read_names) -> list[str]:
    """The names in a list: a text file, one name per line, or JSON, ``[name, ...]`` or ``{'videos': ...}``; each once.

    Messages say ``what`` is listed, such as ``videos``; ``read`` reads the names of a text file.
    """
    form = "Expected a text file, one name per line, or JSON: [name, ...] or {'videos': ...}."
    if not Path(path).is_file():
        raise MissingInputError(f'List of {what}: {absent(path, "file")}. {form}')
    content = read_json(path) if Path(path).suffix.lower() == '.json' else read(path)
    names = content.get('videos') if isinstance(content, dict) else content
    if not isinstance(names, (list, dict)) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f'{path} lists no {what}. {form}')
    return list(dict.fromkeys(names))


def read_video_list(path: str | Path) -> list[str]:
    """The videos in a list, see :func:`read_list`."""
    videos = read_list(path, 'videos')
    for video in videos:
        check_name(video, path)
    return videos


def read_instance_categories(path: str | Path) -> dict[int, int]:
    """The category of each instance of a mask of VIP, from lines ``id category``."""
    try:
        lines = read_words(path)
    except FileNotFoundError:
        raise MissingInputError(f'Instance list not found: {path}.') from None
    # Python refuses to read numbers of thousands of digits.
    broken = [words for words in lines if len(words) != 2 or not all(w.isdecimal() and len(w) < 10 for w in words)]
    if broken:
        raise InputError(f'{path}: expected lines "id category", got {" ".join(broken[0])!r}.')
    categories = {int(number): int(category) for number, category in lines}
    if len(categories) < len(lines):
        raise InputError(f'{path}: {len(lines)} lines for {len(categories)} instances. Expected one line for each.')
    return categories


def invisible(text: str) -> str:
    """The first character that cannot be seen, as ``U+200B``, or an empty text.

    The two joiners, which belong to the spelling of some scripts, count only in plain ASCII.
    """
    for character in text:
        joins = character in '\u200c\u200d' and not text.replace(character, '').isascii()
        if unicodedata.category(character) in ('Cc', 'Cf', 'Cs') and not joins:
            return f'U+{ord(character):04X}'
    return ''


def check_entries(found: object, what: str, where: str) -> list[dict]:
    """The same, refused unless it is a list of JSON objects; the error names ``what`` it is and ``where`` it stands."""
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f'{where}: {what} must be a list of entries with names, got {found!r:.80}.')
    return found


def check_name(name: str, source: str | Path) -> None:
    """Refuse the name of a video or frame that would point out of the folder that it is looked for in.

    Raises:
        ValueError: the name is empty, absolute, on a Windows drive, holds an empty part, ``.``, ``..``, a backslash or
            a character that cannot be seen, or is longer than a path can be.
    """
    leads_out = {'', '.', '..'} & set(name.split('/')) or '\\' in name or re.match('[A-Za-z]:', name)
    if leads_out or invisible(name) or _too_long(name):
        raise InputError(
            f'{source} holds the name {name[:200]!a}. Names of videos and frames are relative paths with "/", without '
            '"..", "\\", a drive, invisible characters or parts of more than 255 bytes, as they name files and folders.'
        )


def _too_long(name: str) -> bool:
    """Whether no common file system takes a relative path: 255 bytes per part, and room for the folder before it."""
    return len(name.encode()) > 2000 or any(len(part.encode()) > 255 for part in name.split('/'))


def _trimmed(word: str) -> str:
    return word.strip(''.join(filter(invisible, word)))


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
