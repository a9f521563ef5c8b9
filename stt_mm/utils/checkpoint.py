"""Reading and writing checkpoints, without running foreign code and without taking a damaged file for a whole one."""

import argparse
import hashlib
import io
import json
import logging
import os
import pickle
import re
import tempfile
import zipfile
import zlib
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from stt_mm.errors import FileError, InputError, MissingInputError
from stt_mm.utils.config_path import BUNDLED, bundled

logger = logging.getLogger(__name__)

_SHA8_NAME = re.compile(r'-([0-9a-f]{8})(\.\w+)+$')
# Eight digits that are no checksum: the day on which a file was made.
_DATE = re.compile(r'(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$')
# What a file is that begins like this, and what to do about it.
_OTHER_KINDS = (
    (
        re.compile(rb'version https://git-lfs'),
        'a pointer of Git LFS, not the file that it stands for. Get that with "git lfs pull"',
    ),
    (
        re.compile(rb'\s*<(!doctype|html|head|\?xml)', re.IGNORECASE),
        'a web page, such as an error message or a '
        'question of the server, saved under this name. Download the file itself',
    ),
    (re.compile(rb'\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf'), 'compressed. Unpack it first'),
)
# Where this toolbox's safetensors files keep their meta data.
_HEADER = 'stt_mm'
_ZIP = b'PK\x03\x04'
_TRAINING_FILE = re.compile(r'(?:iter|epoch)_(\d+)\.pth')
_BEST_FILE = re.compile(r'best_.+_iter_(\d+)\.pth')


class CheckpointError(InputError):
    """A checkpoint that cannot be used; the message is one line for the user."""


def write_atomically(data: bytes, path: str | Path) -> None:
    """Write a file so that its final name never holds half of it, not even after a power cut."""
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.umask(umask := os.umask(0))
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileError(f'{path} ({len(data)} bytes) cannot be written: {error.strerror or error}.') from error
        raise


def checkpoint_bytes(checkpoint: dict[str, Any]) -> bytes:
    """What ``torch.save`` would write, independent of the file's name."""
    with io.BytesIO() as buffer:
        torch.save(checkpoint, buffer)
        return buffer.getvalue()


def safetensors_bytes(checkpoint: dict[str, Any]) -> bytes:
    """A checkpoint of ``state_dict`` and ``meta``, which is plain data, as a safetensors file with it in the header."""
    weights = {name: value.contiguous() for name, value in checkpoint['state_dict'].items()}
    # One entry: the order of several would change from run to run.
    return safetensors.torch.save(weights, {_HEADER: json.dumps(checkpoint['meta'], sort_keys=True)})


def _read_safetensors(path: Path, device: Any) -> dict[str, Any]:
    """What :func:`safetensors_bytes` was given; of other files the weights alone, by their names."""
    with safetensors.safe_open(path, 'pt') as file:
        weights = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118 it is no dict
        header = file.metadata() or {}
    return dict(state_dict=weights, meta=json.loads(header[_HEADER])) if _HEADER in header else weights


def sha8(path: str | Path) -> str:
    """First eight hexadecimal digits of the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(existing(path), 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:8]


def existing(path: str | Path) -> Path:
    """The path of a checkpoint file, with ``~`` resolved; a name in ``stt_mm.utils.config_path.BUNDLED`` is one too."""
    if not isinstance(path, str | os.PathLike) or '://' in str(path):
        raise InputError(f'A checkpoint is a file on this machine or the name of a network, got {path!r:.80}.')
    path = Path(path).expanduser()
    if not path.exists() and (found := bundled(path)):
        return found
    if path.is_dir():
        raise CheckpointError(
            f'Expected a checkpoint file, got the folder {path}. Name one file in it{_listing(path)}.'
        )
    if not path.is_file():
        names = '' if path.suffix or path.parent.name else f' Networks that come with stt_mm: {", ".join(BUNDLED)}.'
        raise MissingInputError(f'Checkpoint not found: {path}{_neighbours(path)}.{names}')
    return path


def read_checkpoint(path: str | Path, trust: bool = False, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint file.

    A file of ``torch.save`` is compared with its own checksums, one whose name ends in the first digits of its SHA-256
    (``...-15906475.pth``) with those too. A file that has neither is read with a warning.

    Args:
        path: a file written by ``torch.save``, or one of the safetensors format.
        trust: allow objects other than tensors and plain data. Reading such a file can run any code it contains.
        map_location: as in ``torch.load``.

    Raises:
        CheckpointError: if the path is a folder, the file is truncated, damaged or something else, its content is not
            that of its name, or it needs ``trust``.
    """
    path = existing(path)
    _check_kind(path)
    named = _check_name(path)
    try:
        if not (_check_members(path) or named):
            _warn_of_no_checksums(path)
        if _is_safetensors(path):
            return _read_safetensors(path, map_location)
        # CRW, DINO and others store their command line beside the weights; a Namespace is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location=map_location, weights_only=not trust)
    except MemoryError:
        raise
    except Exception as error:
        foreign = [] if trust else _foreign_globals(path, error)
        if foreign:
            raise CheckpointError(
                f'{path} holds more than tensors and plain data: {", ".join(foreign)}. Reading it can run code from '
                'the file. If you trust where it comes from, convert or test it with --trust-checkpoint '
                '(trust=True).'
            ) from error
        if trust and isinstance(error, ImportError | AttributeError):
            raise CheckpointError(f'{path} needs code that is not installed: {_first_line(error)}.') from error
        raise CheckpointError(
            f'{path} ({path.stat().st_size} bytes) is truncated, corrupt or no PyTorch checkpoint: '
            f'{_first_line(error)}. Download or write it again.'
        ) from error


@cache
def _warn_of_no_checksums(path: Path) -> None:
    """Once for a file, however often it is read."""
    logger.warning('%s has no checksums, so damage of its content cannot be told. Compare its SHA-256.', path)


def _is_safetensors(path: Path) -> bool:
    """Whether a file is called or begins like one of this format: the length of a header in JSON, and the header."""
    with open(path, 'rb') as file:
        start = file.read(9)
    return path.suffix == '.safetensors' or (
        start[8:] == b'{' and int.from_bytes(start[:8], 'little') <= path.stat().st_size
    )


def _check_kind(path: Path) -> None:
    """Refuse what is plainly no checkpoint, by its first bytes."""
    with open(path, 'rb') as file:
        start = file.read(512)
    for pattern, what in _OTHER_KINDS:
        if pattern.match(start):
            raise CheckpointError(f'{path} ({path.stat().st_size} bytes) is no checkpoint but {what}.')
    if start.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except Exception:  # a damaged directory fails in many ways; torch.load will say so
            return
        names = {member.filename.rpartition('/')[2] for member in members}
        if 'constants.pkl' in names:
            raise CheckpointError(
                f'{path} is no checkpoint but a TorchScript program. Save its weights with '
                'torch.save(torch.jit.load(PATH).state_dict(), OTHER).'
            )
        if 'data.pkl' not in names:
            raise CheckpointError(
                f'{path} is no checkpoint but a zip archive of other files '
                f'({", ".join(sorted(names)[:3])}). Unpack it first.'
            )
        unpacked = sum(member.file_size for member in members)
        if unpacked > path.stat().st_size:
            raise CheckpointError(
                f'{path} ({path.stat().st_size} bytes) has compressed parts, which torch.save never '
                f'writes; they would take {unpacked >> 20} MiB. If it is yours, save it again.'
            )


def _check_name(path: Path) -> bool:
    """Compare the checksum in a file's name with its content; whether there is one."""
    named = _SHA8_NAME.search(path.name)
    if not named or _DATE.match(named[1]):
        return False
    if (found := sha8(path)) != named[1]:
        raise CheckpointError(
            f'{path} is not the file of that name: its SHA-256 begins with {found}, its name says '
            f'{named[1]}. It is damaged or was changed; download it again, or rename it if the '
            'change is meant.'
        )
    return True


def _check_members(path: Path) -> bool:
    """Compare the parts of a zip file with their checksums, which ``torch.load`` does not; whether it has any."""
    with open(path, 'rb') as file:
        if file.read(len(_ZIP)) != _ZIP:  # As PyTorch wrote it before 1.6.
            return False
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if not any(member.CRC for member in members):  # As torch.serialization.set_crc32_options(False) leaves them.
            return False
        for member in members:
            try:
                with archive.open(member) as file:
                    while file.read(1 << 20):
                        pass
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                raise InputError(f'its part {member.filename} is damaged ({_first_line(error)})') from error
    return True


def remove_left_overs(folder: str | Path, names: str) -> None:
    """Remove what killed calls of :func:`write_atomically` have left in a folder; nobody may be writing there.

    ``names`` is a pattern of the final names, with ``**/`` before it for folders below.
    """
    pattern = Path(names)
    for left_over in Path(folder).glob(str(pattern.parent / f'.{pattern.name}.????????.tmp')):
        left_over.unlink(missing_ok=True)


def require_resumable(checkpoint: Any, path: Path, scheduled: bool = False) -> None:
    """Refuse a checkpoint from which a training, with a schedule or without, cannot go on as if it had not stopped."""
    content = checkpoint if isinstance(checkpoint, dict) else {}
    needed = ['state_dict', 'meta', 'message_hub', 'optimizer', *(['param_schedulers'] if scheduled else [])]
    lacking = [key for key in needed if not isinstance(content.get(key), dict | list)]
    if 'meta' not in lacking and not isinstance(content['meta'].get('iter'), int):
        lacking.append('meta.iter')
    if lacking:
        step = re.search(r'_((?:iter|epoch)_\d+\.pth)$', path.name)
        others = [path.with_name(step.group(1))] if step and path.with_name(step.group(1)).is_file() else []
        others += [other for other in training_files(path.parent) if other != path]
        raise CheckpointError(
            f'{path} is no file to resume from: it has no {", ".join(lacking)}. Name '
            f'{others[0] if others else "a file iter_<N>.pth of a work directory"} instead, or start '
            f'a new training from its weights with --cfg-options load_from={path}.'
        )
    named = _TRAINING_FILE.fullmatch(path.name)
    if named and path.name.startswith('iter') and int(named[1]) != content['meta']['iter']:
        raise CheckpointError(
            f'{path} is of iteration {content["meta"]["iter"]}, not of that in its name. Give it back its name.'
        )


def latest_checkpoint(work_dir: str | Path, trust: bool = False, scheduled: bool = False) -> Path | None:
    """The newest checkpoint from which the training in a work directory can go on.

    Others, such as one truncated by a full disk, are passed over with a warning.

    Returns:
        The path, or ``None`` if there is no such file.

    Raises:
        CheckpointError: if there are such files, and training can go on from none of them.
    """
    files = list(training_files(Path(work_dir)))
    for path in files:
        try:
            require_resumable(read_checkpoint(path, trust=trust), path, scheduled)
        except (CheckpointError, OSError) as error:
            logger.warning('Passed over an unreadable checkpoint: %s', error)
        else:
            return path
    if files:
        raise CheckpointError(
            f'Training can go on from none of the {len(files)} checkpoints in {work_dir} '
            f'({", ".join(path.name for path in files[:3])}{", ..." if len(files) > 3 else ""}); the '
            'warnings say why. To start anew, remove them or name another --work-dir.'
        )
    return None


def training_files(folder: Path, best: bool = False) -> dict[Path, int]:
    """The checkpoints that a training has written, or those of its best scores, and their iterations, newest first."""
    name = _BEST_FILE if best else _TRAINING_FILE
    found = {
        path: int(match[1]) for path in folder.glob('*.pth') if (match := name.fullmatch(path.name)) and path.is_file()
    }
    return dict(sorted(found.items(), key=lambda item: item[1], reverse=True))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].split('. ')[0] if lines else type(error).__name__).rstrip('. ')[:200]


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.suffix in ('.pth', '.pt', '.tar', '.safetensors'))[:5]
    return f': {", ".join(names)}' if names else ''


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f' (there is no folder {path.parent})'
    names = [file.name for file in path.parent.iterdir() if file.is_file()]
    close = get_close_matches(path.name, names, cutoff=0.4)
    close += sorted(
        name for name in names if name.endswith(('.pth', '.pt', '.tar', '.safetensors')) and name not in close
    )
    return f' (in its folder: {", ".join(close[:5])})' if close else ''


def _foreign_globals(path: Path, error: BaseException) -> list[str]:
    """Classes and functions outside torch's allowed ones that reading ``path`` would need, possibly none."""
    try:
        if found := sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)):
            return found
    except Exception as scan_error:
        logger.debug('No list of globals for %s: %s', path, scan_error)
    if isinstance(error, pickle.UnpicklingError):
        return sorted(set(re.findall(r'GLOBAL ([\w.]+)', str(error))))
    return []
