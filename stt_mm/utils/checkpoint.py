"""Reading checkpoints without running foreign code, and filling a backbone with what they hold."""

import argparse
import contextlib
import hashlib
import io
import logging
import os
import pickle
import re
import tempfile
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.key_maps import SOURCES, find_source, flat_weights, translate

logger = logging.getLogger(__name__)

MIN_RATIO = 0.99
_TRAINING_FILE = re.compile(r'^(?:iter|epoch)_(\d+)\.pth$')


class CheckpointError(InputError):
    """A checkpoint that cannot be used; the message is one line for the user."""


def write_atomically(data: bytes, path: str | Path) -> None:
    """Write a file so that its final name never holds half of it, not even after a power cut.

    Args:
        data: the whole content.
        path: final name; its folder is made where needed and also holds the temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def checkpoint_bytes(checkpoint: dict[str, Any]) -> bytes:
    """What ``torch.save`` would write, independent of the file's name."""
    with io.BytesIO() as buffer:
        torch.save(checkpoint, buffer)
        return buffer.getvalue()


def sha8(path: str | Path) -> str:
    """First eight hexadecimal digits of the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:8]


def read_checkpoint(path: str | Path, trust: bool = False, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint file.

    Args:
        path: a file written by ``torch.save``.
        trust: allow objects other than tensors and plain data. Reading such a file can run any code it contains.
        map_location: as in ``torch.load``.

    Raises:
        FileNotFoundError: if there is no such file; the message names similar ones.
        CheckpointError: if the path is a folder, the file is truncated or corrupt, or it needs ``trust``.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise CheckpointError(f'Expected a checkpoint file, got the folder {path}. Name one file in it'
                              f'{_listing(path)}.')
    if not path.is_file():
        raise MissingInputError(f'Checkpoint not found: {path}{_neighbours(path)}.')
    # CRW, DINO and others store their command line beside the weights; a Namespace is plain data.
    allow = getattr(torch.serialization, 'safe_globals', lambda _: contextlib.nullcontext())
    try:
        with allow([argparse.Namespace]):
            return torch.load(path, map_location=map_location, weights_only=not trust)
    except MemoryError:
        raise
    except Exception as error:
        foreign = [] if trust else _foreign_globals(path, error)
        if foreign:
            raise CheckpointError(
                f'{path} holds more than tensors and plain data: {", ".join(foreign)}. Reading it can run code from '
                'the file. If you trust where it comes from, convert or test it with --trust-checkpoint '
                '(trust=True).') from error
        if trust and isinstance(error, ImportError | AttributeError):
            raise CheckpointError(f'{path} needs code that is not installed: {_first_line(error)}.') from error
        raise CheckpointError(f'{path} ({path.stat().st_size} bytes) is truncated, corrupt or no PyTorch checkpoint: '
                              f'{_first_line(error)}. Download or write it again.') from error


def latest_checkpoint(work_dir: str | Path, trust: bool = False) -> Path | None:
    """The newest checkpoint of a training run that can really be read.

    Files that cannot be read, such as one truncated by a full disk, are passed over with a warning that names them.

    Args:
        work_dir: folder with ``iter_<N>.pth`` (or ``epoch_<N>.pth``) files. It need not exist.
        trust: as in :func:`read_checkpoint`.

    Returns:
        The path, or ``None`` if there is no readable checkpoint.
    """
    folder = Path(work_dir)
    numbered = [(int(match.group(1)), path) for path in folder.glob('*.pth')
                if (match := _TRAINING_FILE.match(path.name))]
    for _, path in sorted(numbered, reverse=True):
        try:
            checkpoint = read_checkpoint(path, trust=trust)
        except (CheckpointError, OSError) as error:
            logger.warning('Passed over an unreadable checkpoint: %s', error)
            continue
        if isinstance(checkpoint, dict) and {'state_dict', 'meta', 'message_hub'} <= checkpoint.keys():
            return path
        logger.warning('Passed over %s: it is no training checkpoint (needs state_dict, meta and message_hub).', path)
    return None


def backbone_state_dict(checkpoint: Any) -> tuple[dict[str, Tensor], str]:
    """The backbone in a checkpoint of any known source: ResNets under torchvision's names, transformers under timm's.

    Args:
        checkpoint: what :func:`read_checkpoint` returned.

    Returns:
        The tensors by name (not copied), and the name of the source.

    Raises:
        CheckpointError: if no source recognises the keys; the message shows the first ones and the known sources.
    """
    source = find_source(checkpoint)
    if source is None:
        keys = list(flat_weights(checkpoint)) or [f'none, it is a {type(checkpoint).__name__} without tensors']
        raise CheckpointError(f'Unknown kind of checkpoint. Its first keys: {", ".join(keys[:5])}. Known sources: '
                              f'{"; ".join(known.name for known in SOURCES)}.')
    return translate(flat_weights(checkpoint), source), source.name


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_backbone` did. All names are those of the module; ``num_batches_tracked`` is not counted.

    Args:
        source: where the checkpoint comes from.
        matched: names that were filled.
        missing: names of the module that the checkpoint lacks.
        unexpected: names of the checkpoint that should be in the module but are not.
        mismatched: names in both, with different shapes (as text, ``name: file shape -> module shape``).
        unused: names of the checkpoint under a part that the module does not have, such as a later stage.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Filled fraction of the module's parameters and buffers, between 0 and 1."""
        total = len(self.matched) + len(self.missing) + len(self.mismatched)
        return len(self.matched) / total if total else 0.0

    @property
    def complete(self) -> bool:
        """Whether at least 99 % of the module is filled and at most 1 % as many names are unexpected."""
        return self.ratio >= MIN_RATIO and len(self.unexpected) <= (1 - MIN_RATIO) * len(self.matched)

    def __str__(self) -> str:
        return (f'source: {self.source}; matched {len(self.matched)} ({self.ratio:.1%}), missing {len(self.missing)}, '
                f'mismatched {len(self.mismatched)}, unexpected {len(self.unexpected)}, unused {len(self.unused)}')

    def details(self, limit: int = 5) -> str:
        """The first names of every list that is a problem, on one line."""
        lists = {'missing': self.missing, 'mismatched': self.mismatched, 'unexpected': self.unexpected}
        return '; '.join(f'{kind}: {", ".join(names[:limit])}{", ..." if len(names) > limit else ""}'
                         for kind, names in lists.items() if names)


def load_backbone(module: nn.Module, path: str | Path, trust: bool = False,
                  allow_partial: bool = False) -> LoadReport:
    """Fill a backbone from a checkpoint of any known source.

    A checkpoint of no known source is taken too if its names are those of the module, so any architecture can be used.

    Args:
        module: the backbone, changed in place, and only if nothing is refused. One that wraps a network of another
            library holds it as ``network``, whose names count, and may name as ``classifier`` the prefixes of what it
            left out of it.
        path: checkpoint file.
        trust: as in :func:`read_checkpoint`.
        allow_partial: accept a checkpoint that fills less than 99 % of the module.

    Raises:
        FileNotFoundError, CheckpointError: as in :func:`read_checkpoint` and :func:`backbone_state_dict`, or if the
            checkpoint does not fit and ``allow_partial`` is not set; the message lists what does not fit.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    target = getattr(module, 'network', module)
    wanted = target.state_dict()
    weights, source = flat_weights(checkpoint), 'names of the module'
    if len(wanted.keys() & weights.keys()) < MIN_RATIO * len(wanted) or find_source(checkpoint) is not None:
        try:
            weights, source = backbone_state_dict(checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f'{path}: {error}') from error
    if target is not module:
        weights = {name.removeprefix('network.'): value for name, value in weights.items()}
        left_out = tuple(getattr(module, 'classifier', ()))
        weights = {name: value for name, value in weights.items() if not name.startswith(left_out)}
    fitting, report = _compare(wanted, weights, source)
    if not report.matched or not (report.complete or allow_partial):
        advice = '' if not report.matched else ' tools/test.py --allow-partial (allow_partial=True) loads it anyway.'
        if any('pos_embed' in name for name in report.mismatched):
            advice = (' The position embedding is for another image size: build the network for that of the checkpoint '
                      '(img_size); it is resampled to each frame.' + advice)
        raise CheckpointError(f'{path} does not fit the backbone ({report}). {report.details()}.{advice}')
    target.load_state_dict(fitting, strict=False)
    return report


def _compare(wanted: dict[str, Tensor], weights: dict[str, Tensor],
             source: str) -> tuple[dict[str, Tensor], LoadReport]:
    parts = {name.split('.')[0] for name in wanted}
    fitting: dict[str, Tensor] = {}
    missing, mismatched = [], []
    for name, target in wanted.items():
        if name not in weights:
            missing.append(name)
        elif weights[name].shape != target.shape:
            mismatched.append(f'{name}: {tuple(weights[name].shape)} -> {tuple(target.shape)}')
        else:
            fitting[name] = weights[name]
    extra = [name for name in weights if name not in wanted]
    lists = dict(matched=fitting, missing=missing, mismatched=mismatched,
                 unexpected=[name for name in extra if name.split('.')[0] in parts],
                 unused=[name for name in extra if name.split('.')[0] not in parts])
    counted = {kind: tuple(name for name in names if 'num_batches_tracked' not in name)
               for kind, names in lists.items()}
    return fitting, LoadReport(source=source, **counted)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].split('. ')[0] if lines else type(error).__name__).rstrip('. ')[:200]


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.suffix in ('.pth', '.pt', '.tar'))[:5]
    return f': {", ".join(names)}' if names else ''


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f' (there is no folder {path.parent})'
    names = [file.name for file in path.parent.iterdir() if file.is_file()]
    close = get_close_matches(path.name, names, n=3, cutoff=0.4)
    close += sorted(name for name in names if name.endswith(('.pth', '.pt', '.tar')) and name not in close)
    return f' (in its folder: {", ".join(close[:5])})' if close else ''


def _foreign_globals(path: Path, error: BaseException) -> list[str]:
    """Classes and functions outside torch's allowed ones that reading ``path`` would need, possibly none."""
    scan = getattr(torch.serialization, 'get_unsafe_globals_in_checkpoint', None)
    if scan is not None:
        try:
            if found := sorted(scan(path)):
                return found
        except Exception as scan_error:
            logger.debug('No list of globals for %s: %s', path, scan_error)
    if isinstance(error, pickle.UnpicklingError):
        return sorted(set(re.findall(r'GLOBAL ([\w.]+)', str(error))))
    return []
