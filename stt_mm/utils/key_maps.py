"""Whose checkpoint is it? Key patterns of the known sources, and their translation to torchvision's ResNet names."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_STEM = {'conv1.weight', 'layer1.0.conv1.weight'}
_PRETRAIN_MARKS = ('neck.', 'head.', 'encoder_k.', 'target_net.', 'queue', 'momentum_')
_CONV_MODULE = re.compile(r'(?:^|\.)(?:conv\d|downsample)\.(?:conv|bn)\.')


def _same_name(name: str) -> str:
    return name


def conv_module_to_torchvision(name: str) -> str:
    """Name of a parameter in a ResNet of ConvModules -> its name in torchvision's ResNet.

    ``layer1.0.conv2.bn.bias`` becomes ``layer1.0.bn2.bias``; ``downsample.conv`` and ``downsample.bn`` become
    ``downsample.0`` and ``downsample.1``. Other names stay as they are.
    """
    name = re.sub(r'(^|\.)downsample\.conv\.', r'\1downsample.0.', name)
    name = re.sub(r'(^|\.)downsample\.bn\.', r'\1downsample.1.', name)
    name = re.sub(r'(^|\.)conv(\d)\.conv\.', r'\1conv\2.', name)
    return re.sub(r'(^|\.)conv(\d)\.bn\.', r'\1bn\2.', name)


@dataclass(frozen=True)
class Source:
    """One known origin of checkpoints.

    Args:
        name: how reports call it.
        prefix: keys that start with it belong to the backbone; all others are left out.
        recognise: ``(keys, checkpoint) -> bool``, keys without a DDP ``module.``, checkpoint as read from the file.
        rename: backbone name without the prefix -> torchvision name.
        drop: names (prefix removed) that start with one of these are left out, such as the projection head ``fc.``.
    """

    name: str
    prefix: str
    recognise: Callable[[set[str], Mapping[str, Any]], bool]
    rename: Callable[[str], str] = _same_name
    drop: tuple[str, ...] = ()


def _any_starts(keys: Iterable[str], *prefixes: str) -> bool:
    return any(key.startswith(prefixes) for key in keys)


def _is_bare(keys: set[str], checkpoint: Mapping[str, Any]) -> bool:
    return keys >= _STEM


# The first source that recognises the keys is taken, so the more special ones stand first.
SOURCES = (
    Source('official MoCo', 'encoder_q.', lambda keys, _: _any_starts(keys, 'encoder_q.'), drop=('fc.',)),
    Source('official SimSiam', 'encoder.',
           lambda keys, _: _any_starts(keys, 'encoder.') and _any_starts(keys, 'predictor.'), drop=('fc.',)),
    Source('released STT', 'backbone.',
           lambda keys, _: any(key.startswith('backbone.') and _CONV_MODULE.search(key) for key in keys),
           rename=conv_module_to_torchvision, drop=('fc.',)),
    Source('stt_mm published', 'backbone.',
           lambda keys, checkpoint: _any_starts(keys, 'backbone.') and 'stt_mm_version' in meta_of(checkpoint)),
    Source('mmpretrain self-supervised', 'backbone.',
           lambda keys, _: _any_starts(keys, 'backbone.') and _any_starts(keys, *_PRETRAIN_MARKS)),
    Source('stt_mm training', 'backbone.', lambda keys, _: _any_starts(keys, 'backbone.')),
    Source('torchvision names under state_dict (DetCo)', '',
           lambda keys, checkpoint: 'state_dict' in checkpoint and _is_bare(keys, checkpoint), drop=('fc.',)),
    Source('torchvision', '', _is_bare, drop=('fc.',)),
)


def meta_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``meta`` entry of a checkpoint, empty where there is none."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, Mapping) else {}


def flat_weights(checkpoint: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, from under ``state_dict`` or ``model`` and without a DDP ``module.``."""
    if not isinstance(checkpoint, Mapping):
        return {}
    weights: Any = checkpoint
    for key in ('state_dict', 'model', 'model_state_dict'):
        if isinstance(checkpoint.get(key), Mapping):
            weights = checkpoint[key]
            break
    tensors = {name: value for name, value in weights.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors and all(name.startswith('module.') for name in tensors):
        tensors = {name[len('module.'):]: value for name, value in tensors.items()}
    return tensors


def find_source(checkpoint: Any) -> Source | None:
    """The first of :data:`SOURCES` whose key pattern the checkpoint has, or ``None``."""
    keys = set(flat_weights(checkpoint))
    if not keys:
        return None
    return next((source for source in SOURCES if source.recognise(keys, checkpoint)), None)


def translate(weights: Mapping[str, Tensor], source: Source) -> dict[str, Tensor]:
    """The backbone's tensors under torchvision names; the tensors themselves are not copied."""
    translated = {}
    for name, value in weights.items():
        if not name.startswith(source.prefix):
            continue
        bare = name[len(source.prefix):]
        if not bare.startswith(source.drop):
            translated[source.rename(bare)] = value
    return translated
