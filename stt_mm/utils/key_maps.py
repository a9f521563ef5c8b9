"""Whose checkpoint is it? Key patterns of the known sources, and their translation to the names that backbones have.

ResNets get torchvision's names, vision transformers timm's; what mmpretrain and this toolbox wrote keeps its own.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_STEM = {'conv1.weight', 'layer1.0.conv1.weight'}
_PATCHES = {'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'}
_PRETRAIN_MARKS = ('neck.', 'head.', 'encoder_k.', 'target_net.', 'queue', 'momentum_')
_CONV_MODULE = re.compile(r'(?:^|\.)(?:conv\d|downsample)\.(?:conv|bn)\.')


def conv_module_to_torchvision(name: str) -> str:
    """Name of a parameter in a ResNet of ConvModules -> its name in torchvision's ResNet.

    ``layer1.0.conv2.bn.bias`` becomes ``layer1.0.bn2.bias``; ``downsample.conv`` and ``downsample.bn`` become
    ``downsample.0`` and ``downsample.1``. Other names stay as they are.
    """
    name = re.sub(r'(^|\.)downsample\.conv\.', r'\1downsample.0.', name)
    name = re.sub(r'(^|\.)downsample\.bn\.', r'\1downsample.1.', name)
    name = re.sub(r'(^|\.)conv(\d)\.conv\.', r'\1conv\2.', name)
    return re.sub(r'(^|\.)conv(\d)\.bn\.', r'\1bn\2.', name)


def conv_modules_to_torchvision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """All weights of a ResNet of ConvModules under torchvision's names."""
    return {conv_module_to_torchvision(name): value for name, value in weights.items()}


def vit_to_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a vision transformer in the layout of DINO, iBOT, MAE or DINOv2 -> timm's VisionTransformer.

    DINO, iBOT and MAE have timm's names. DINOv2 groups blocks (``blocks.<chunk>.<block>.``) in training files, names
    the registers and the gated MLP in another way, and with registers keeps a position for the class token, which timm
    adds to the token.
    """
    renamed = {}
    for name, value in weights.items():
        name = re.sub(r'^blocks\.\d+\.(\d+)\.', r'blocks.\1.', name)
        renamed[name.replace('.mlp.w12.', '.mlp.fc1.').replace('.mlp.w3.', '.mlp.fc2.')] = value
    if 'register_tokens' in renamed and {'cls_token', 'pos_embed'} <= renamed.keys():
        renamed['reg_token'] = renamed.pop('register_tokens')
        renamed['cls_token'] = renamed['cls_token'] + renamed['pos_embed'][:, :1]
        renamed['pos_embed'] = renamed['pos_embed'][:, 1:]
    return renamed


@dataclass(frozen=True)
class Source:
    """One known origin of checkpoints.

    Args:
        name: how reports call it.
        prefix: keys that start with it belong to the backbone; all others are left out.
        recognise: ``(keys, checkpoint) -> bool``, keys without a DDP ``module.``, checkpoint as read from the file.
        convert: the backbone's tensors by name without the prefix -> the same under the names that backbones have.
        drop: names (prefix removed) that start with one of these are left out, such as the projection head ``fc.``.
    """

    name: str
    prefix: str
    recognise: Callable[[set[str], Mapping[str, Any]], bool]
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    drop: tuple[str, ...] = ()


def _any_starts(keys: Iterable[str], *prefixes: str) -> bool:
    return any(key.startswith(prefixes) for key in keys)


def _is_conv_modules(keys: set[str], checkpoint: Mapping[str, Any]) -> bool:
    return any(key.startswith('backbone.') and _CONV_MODULE.search(key) for key in keys)


def _is_teacher(keys: set[str], checkpoint: Mapping[str, Any]) -> bool:
    return isinstance(checkpoint.get('teacher'), Mapping) and _any_starts(keys, 'backbone.')


def _is_bare(keys: set[str], checkpoint: Mapping[str, Any]) -> bool:
    return keys >= _STEM


# The first source that recognises the keys is taken, so the more special ones stand first.
SOURCES = (
    Source('official MoCo', 'encoder_q.', lambda keys, _: _any_starts(keys, 'encoder_q.'), drop=('fc.',)),
    Source('CRW', 'encoder.model.', lambda keys, _: _any_starts(keys, 'encoder.model.'), drop=('fc.',)),
    Source('SFC', 'online_encoder.', lambda keys, _: _any_starts(keys, 'online_encoder.'), drop=('fc.',)),
    Source('official SimSiam', 'encoder.',
           lambda keys, _: _any_starts(keys, 'encoder.') and _any_starts(keys, 'predictor.'), drop=('fc.',)),
    Source('DINO training', 'backbone.', _is_teacher, convert=vit_to_timm, drop=('fc.', 'head.', 'mask_token')),
    Source('VFS', 'backbone.', lambda keys, checkpoint: _is_conv_modules(keys, checkpoint)
           and _any_starts(keys, 'img_head.'), convert=conv_modules_to_torchvision, drop=('fc.',)),
    Source('released STT', 'backbone.', _is_conv_modules, convert=conv_modules_to_torchvision, drop=('fc.',)),
    Source('stt_mm published', 'backbone.',
           lambda keys, checkpoint: _any_starts(keys, 'backbone.') and 'stt_mm_version' in meta_of(checkpoint)),
    Source('mmpretrain', 'backbone.',
           lambda keys, _: _any_starts(keys, 'backbone.') and _any_starts(keys, *_PRETRAIN_MARKS)),
    Source('stt_mm training', 'backbone.', lambda keys, _: _any_starts(keys, 'backbone.')),
    Source('DINOv2', '', lambda keys, _: keys >= {*_PATCHES, 'mask_token', 'blocks.0.ls1.gamma'}, convert=vit_to_timm,
           drop=('head.', 'mask_token')),
    Source('ViT of DINO, MAE or timm', '', lambda keys, _: keys >= _PATCHES, drop=('head.', 'decoder_', 'mask_token')),
    Source('torchvision names under state_dict (DetCo)', '',
           lambda keys, checkpoint: 'state_dict' in checkpoint and _is_bare(keys, checkpoint), drop=('fc.',)),
    Source('torchvision', '', _is_bare, drop=('fc.',)),
)


def meta_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``meta`` entry of a checkpoint, empty where there is none."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, Mapping) else {}


def flat_weights(checkpoint: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without a DDP ``module.``.

    They may lie under ``state_dict``, ``model``, ``model_state_dict`` or ``teacher``.
    """
    if not isinstance(checkpoint, Mapping):
        return {}
    weights: Any = checkpoint
    for key in ('state_dict', 'model', 'model_state_dict', 'teacher'):
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
    """The backbone's tensors under the names that backbones have; tensors that stay as they are are not copied."""
    bare = {name.removeprefix(source.prefix): value for name, value in weights.items()
            if name.startswith(source.prefix)}
    return source.convert({name: value for name, value in bare.items() if not name.startswith(source.drop)})
