"""Whose checkpoint is it? Key patterns of the known sources.

ResNets get torchvision's names, other networks timm's; what mmpretrain and this toolbox wrote keeps its own.
"""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from stt_mm.utils.key_names import (
    conv_modules_to_torchvision,
    convnext_to_timm,
    dinov3_hugging_face_to_timm,
    hugging_face_to_timm,
    mast_to_torchvision,
    vit_to_timm,
)

_STEM = {'conv1.weight', 'layer1.0.conv1.weight'}
_CONV_STEM = {'conv1.conv.weight', 'layer1.0.conv1.conv.weight'}
_PATCHES = {'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'}
_HUGGING_FACE = {'embeddings.patch_embeddings.projection.weight', 'encoder.layer.0.attention.attention.query.weight'}
_DINOV3_HUGGING_FACE = {'embeddings.patch_embeddings.weight', 'layer.0.attention.q_proj.weight'}
_CONVNEXT = {'downsample_layers.0.0.weight', 'stages.0.0.dwconv.weight'}
_MAST = {'feature_extraction.conv1.0.weight', 'post_convolution.weight'}
_LIIR = {'feature_extraction.conv1.weight', 'post_convolution.weight'}
_KNOWN = (_STEM, _CONV_STEM, _PATCHES, _HUGGING_FACE, _DINOV3_HUGGING_FACE, _CONVNEXT, _MAST, _LIIR)
_CONV_MODULE = re.compile(r'(?:^|\.)(?:conv\d|downsample)\.(?:conv|bn)\.')

# Entries of a file that may hold the weights; the first one that is there does.
CONTAINERS = (
    'state_dict',
    'model',
    'model_state_dict',
    'model_state',
    'teacher',
    'target_encoder',
    'module',
    'net',
    'network',
    'params',
    'encoder',
)
# What trainers put before all names of a network that they hold.
WRAPPERS = ('module.', 'model.', 'net.', 'network.', 'vit.', 'deit.', 'dinov2.', 'dinov2_with_registers.')
# What torch puts into names when it wraps a part of a network, at any place.
_INSERTED = re.compile(r'(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')


@dataclass(frozen=True)
class Source:
    """One known origin of checkpoints, recognised by its names without a DDP ``module.`` and by what is around them.

    Args:
        name: how reports call it.
        prefix: names that start with it belong to the backbone, and there are some; all others are left out.
        convert: the backbone's tensors by name without the prefix -> the same under the names that backbones have.
        drop: names (prefix removed) that start with one of these are left out, such as the projection head ``fc.``.
        holds: names that are all there.
        beside: some name starts with one of these.
        conv_modules: whether names below the prefix are those of ConvModules.
        file: whether the checkpoint, as read from the file, is of this source.
    """

    name: str
    prefix: str = ''
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    drop: tuple[str, ...] = ()
    holds: Set[str] = frozenset()
    beside: tuple[str, ...] = ('',)
    conv_modules: bool = False
    file: Callable[[Mapping[str, Any]], bool] = lambda _: True

    def recognises(self, names: set[str], checkpoint: Mapping[str, Any]) -> bool:
        """Whether a checkpoint, which holds these names, is of this source."""
        own = [name for name in names if name.startswith(self.prefix)]
        return (
            names >= self.holds
            and any(name.startswith(self.beside) for name in names)
            and any(not self.conv_modules or _CONV_MODULE.search(name) for name in own)
            and self.file(checkpoint)
        )


_FC = ('fc.',)
# The first source that recognises the names is taken, so the more special ones stand first.
SOURCES = (
    Source('official MoCo', 'encoder_q.', drop=_FC),
    Source('CRW', 'encoder.model.', drop=_FC),
    Source('SFC', 'online_encoder.', drop=_FC),
    Source('DUL', 'fast_net.backbone.', drop=_FC),
    Source('VINCE', 'feature_extractor.module.model.', drop=_FC),
    Source('UVC or ContrastCorr', 'gray_encoder.', drop=_FC),
    Source('MAST, MAMP or CorrFlow', convert=mast_to_torchvision, holds=_MAST),
    Source('unofficial LIIR', convert=mast_to_torchvision, drop=('colorizer.', 'conv_semantic'), holds=_LIIR),
    Source('MoCo v3', 'base_encoder.', drop=('fc.', 'head.')),
    Source(
        'ViT of Hugging Face',
        convert=hugging_face_to_timm,
        drop=('pooler.', 'classifier.', 'decoder.', 'embeddings.mask_token'),
        holds=_HUGGING_FACE,
    ),
    Source(
        'DINOv3 of Hugging Face',
        convert=dinov3_hugging_face_to_timm,
        drop=('embeddings.mask_token',),
        holds=_DINOV3_HUGGING_FACE,
    ),
    Source('ConvNeXt', convert=convnext_to_timm, drop=('head.', 'norms.'), holds=_CONVNEXT),
    Source('official SimSiam', 'encoder.', drop=_FC, beside=('predictor.',)),
    Source(
        'DINO training',
        'backbone.',
        convert=vit_to_timm,
        drop=('fc.', 'head.', 'mask_token'),
        file=lambda checkpoint: isinstance(checkpoint.get('teacher'), Mapping),
    ),
    Source('VFS', 'backbone.', conv_modules_to_torchvision, _FC, beside=('img_head.',), conv_modules=True),
    Source('released STT', 'backbone.', conv_modules_to_torchvision, _FC, conv_modules=True),
    Source('stt_mm published', 'backbone.', file=lambda checkpoint: 'stt_mm_version' in meta_of(checkpoint)),
    Source('mmpretrain', 'backbone.', beside=('neck.', 'head.', 'encoder_k.', 'target_net.', 'queue', 'momentum_')),
    Source('stt_mm training', 'backbone.'),
    Source('DINOv3', convert=vit_to_timm, drop=('head.',), holds=_PATCHES, beside=('storage_tokens', 'rope_embed.')),
    Source(
        'DINOv2',
        convert=vit_to_timm,
        drop=('head.', 'mask_token'),
        holds={*_PATCHES, 'mask_token', 'blocks.0.ls1.gamma'},
    ),
    Source('ViT of DINO, MAE or timm', convert=vit_to_timm, drop=('head.', 'decoder_', 'mask_token'), holds=_PATCHES),
    Source(
        'torchvision names under state_dict (DetCo)',
        drop=_FC,
        holds=_STEM,
        file=lambda checkpoint: 'state_dict' in checkpoint,
    ),
    Source('torchvision', drop=_FC, holds=_STEM),
    Source('ResNet of ConvModules', convert=conv_modules_to_torchvision, drop=_FC, holds=_CONV_STEM),
)


class Backbone(NamedTuple):
    """The backbone that a checkpoint holds.

    Args:
        weights: its tensors under the names that backbones have; those that stay as they are are not copied.
        source: name of the source.
        others: entries of the file that hold the same names and were not taken, such as ``state_dict_ema``.
    """

    weights: dict[str, Tensor]
    source: str
    others: tuple[str, ...]

    def describe(self) -> str:
        """The source, and what was not taken."""
        return self.source + (
            f' ({", ".join(self.others)} of the file not taken; --prefix {self.others[0]} takes it)'
            if self.others
            else ''
        )


def meta_of(checkpoint: Any) -> Mapping[str, Any]:
    """The ``meta`` entry of a checkpoint, empty where there is none."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def flat_weights(checkpoint: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without what DDP and ``torch.compile`` put into names.

    They may lie under one of :data:`CONTAINERS`.
    """
    return _clean(_contained(checkpoint)[0])


def all_weights(checkpoint: Any) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, its name after those of the entries around it: ``state_dict.conv1.weight``."""
    found = {}
    for name, value in checkpoint.items() if isinstance(checkpoint, Mapping) else ():
        if isinstance(value, Tensor):
            found[str(name)] = value
        else:
            found |= {f'{name}.{inner}': tensor for inner, tensor in all_weights(value).items()}
    return found


def weights_below(checkpoint: Any, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it.

    Args:
        checkpoint: as read from the file.
        prefix: with or without its last dot, and with or without the entry of the file, as ``net.encoder`` or
            ``state_dict.net.encoder``.
    """
    prefix = prefix.removesuffix('.') + '.'
    contained, _ = _contained(checkpoint)
    for weights in (contained, _clean(contained), all_weights(checkpoint)):
        if found := {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}:
            return _clean(found)
    return {}


def prefixes_in(checkpoint: Any) -> list[str]:
    """Prefixes below which a checkpoint holds a known network or, without one, the first parts of its names."""
    names = all_weights(checkpoint)
    stems = [sorted(stem) for stem in _KNOWN]
    found = [name.removesuffix(first) for first, *_ in stems for name in names if name.endswith(f'.{first}')]
    known = [
        prefix for prefix in dict.fromkeys(found) if any(all(prefix + name in names for name in stem) for stem in stems)
    ]
    return known or list(dict.fromkeys(f'{name.split(".")[0]}.' for name in names if '.' in name))


def find_backbone(checkpoint: Any, prefix: str | None = None) -> Backbone | None:
    """The backbone in a checkpoint of any known source, or ``None``; with a prefix see :func:`weights_below`."""
    if prefix is not None:
        return _recognise(weights_below(checkpoint, prefix), {})
    weights, others = _contained(checkpoint)
    found = _recognise(_clean(weights), checkpoint)
    return None if found is None else found._replace(others=others)


def _recognise(weights: dict[str, Tensor], checkpoint: Any) -> Backbone | None:
    keys = set(weights)
    source = next((source for source in SOURCES if source.recognises(keys, checkpoint)), None) if keys else None
    if source is not None:
        bare = {
            name.removeprefix(source.prefix): value for name, value in weights.items() if name.startswith(source.prefix)
        }
        bare = source.convert({name: value for name, value in bare.items() if not name.startswith(source.drop)})
        return Backbone(bare, source.name, ())
    inner = [
        (wrapper, {name[len(wrapper) :]: value for name, value in weights.items() if name.startswith(wrapper)})
        for wrapper in WRAPPERS
    ]
    found = [(wrapper, backbone) for wrapper, part in inner if part and (backbone := _recognise(part, {}))]
    if len(found) != 1:
        # Of two networks in a file none is taken by guess.
        return None
    wrapper, backbone = found[0]
    return backbone._replace(source=f'{backbone.source}, below {wrapper}')


def _contained(checkpoint: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors of the entry that holds the weights, and the entries beside it that hold the same names."""
    if not isinstance(checkpoint, Mapping):
        return {}, ()
    for entry in CONTAINERS:
        inner = checkpoint.get(entry)
        if all_weights(inner):
            weights, others = _contained(inner)
            wanted = _clean(weights).keys()
            # Of a teacher and its student it is known which one is meant.
            same = [
                name
                for name, value in checkpoint.items()
                if entry not in ('teacher', 'target_encoder') and name != entry and wanted <= flat_weights(value).keys()
            ]
            return weights, (*same, *(f'{entry}.{name}' for name in others))
    return {
        name: value for name, value in checkpoint.items() if isinstance(name, str) and isinstance(value, Tensor)
    }, ()


def _clean(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    weights = {_INSERTED.sub('', name): value for name, value in weights.items()}
    if all(name.startswith('module.') for name in weights):
        weights = {name[len('module.') :]: value for name, value in weights.items()}
    return weights
