"""Names of weights as other projects have them -> those that backbones have: torchvision's of ResNets, else timm's."""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

_CONV_MODULE_NAMES = (
    (r'(^|\.)downsample\.conv\.', r'\1downsample.0.'),
    (r'(^|\.)downsample\.bn\.', r'\1downsample.1.'),
    (r'(^|\.)conv(\d)\.conv\.', r'\1conv\2.'),
    (r'(^|\.)conv(\d)\.bn\.', r'\1bn\2.'),
)
_MAST_NAMES = (
    (r'^feature_extraction\.', ''),
    (r'^post_convolution\.', 'projection.'),
    (r'^conv1\.0\.', 'conv1.'),
    (r'^conv1\.1\.', 'bn1.'),
    (r'\.left\.0\.', '.conv1.'),
    (r'\.left\.1\.', '.bn1.'),
    (r'\.left\.3\.', '.conv2.'),
    (r'\.left\.4\.', '.bn2.'),
    (r'\.shortcut\.', '.downsample.'),
    (r'^pos_embed1$', 'position.map'),
)
_HUGGING_FACE_NAMES = (
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.', ''),
    (r'^encoder\.layer\.', 'blocks.'),
    (r'\.attention\.output\.dense\.', '.attn.proj.'),
    (r'\.layer_scale(\d)\.lambda1$', r'.ls\1.gamma'),
    (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'),
    (r'\.intermediate\.dense\.', '.mlp.fc1.'),
    (r'^(blocks\.\d+)\.output\.dense\.', r'\1.mlp.fc2.'),
    (r'\.mlp\.weights_in\.', '.mlp.w12.'),
    (r'\.mlp\.weights_out\.', '.mlp.w3.'),
    (r'^layernorm\.', 'norm.'),
)
_VIT_NAMES = (
    (r'^blocks\.\d+\.(\d+)\.', r'blocks.\1.'),
    (r'\.mlp\.w12\.', '.mlp.fc1.'),
    (r'\.mlp\.w3\.', '.mlp.fc2.'),
    (r'\.mlp\.layers\.0\.', '.mlp.fc1.'),
    (r'\.mlp\.layers\.1\.', '.mlp.fc2.'),
)
_DINOV3_NAMES = (
    (r'^storage_tokens$', 'reg_token'),
    (r'\.ls(\d)\.gamma$', r'.gamma_\1'),
    (r'\.mlp\.w1\.', '.mlp.fc1_g.'),
    (r'\.mlp\.w2\.', '.mlp.fc1_x.'),
    (r'\.mlp\.w3\.', '.mlp.fc2.'),
)
# What timm computes, or only a training uses.
_DINOV3_WITHOUT = re.compile(r'^(?:rope_embed\.|mask_token$|local_cls_norm\.)|\.bias_mask$')
_DINOV3_HUGGING_FACE_NAMES = (
    (r'^embeddings\.patch_embeddings\.', 'patch_embed.proj.'),
    (r'^embeddings\.register_tokens$', 'storage_tokens'),
    (r'^embeddings\.', ''),
    (r'^layer\.', 'blocks.'),
    (r'\.attention\.o_proj\.', '.attn.proj.'),
    (r'\.attention\.', '.attn.'),
    (r'\.layer_scale(\d)\.lambda1$', r'.ls\1.gamma'),
    (r'\.mlp\.gate_proj\.', '.mlp.w1.'),
    (r'\.mlp\.down_proj\.', '.mlp.fc2.'),
)
_CONVNEXT_NAMES = (
    (r'^downsample_layers\.0\.', 'stem.'),
    (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample.'),
    (r'^stages\.(\d+)\.(\d+)\.', r'stages.\1.blocks.\2.'),
    (r'\.dwconv\.', '.conv_dw.'),
    (r'\.pwconv(\d)\.', r'.mlp.fc\1.'),
    (r'\.grn\.gamma$', '.mlp.grn.weight'),
    (r'\.grn\.beta$', '.mlp.grn.bias'),
    (r'^norm\.', 'head.norm.'),
)


def conv_modules_to_torchvision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a ResNet of ConvModules under torchvision's names; other names stay as they are."""
    return {_renamed(name, _CONV_MODULE_NAMES): value for name, value in weights.items()}


def mast_to_torchvision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of MAST and its kin -> ``CorrespondenceResNet`` with a projection and, at LIIR, a position map."""
    return {_renamed(name, _MAST_NAMES): value for name, value in weights.items()}


def vit_to_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a vision transformer in the layout of DINO, iBOT, MAE, Hiera, DINOv2 or DINOv3 -> timm's.

    DINO, iBOT, MAE and Hiera have timm's names, that of SAM 2 but for its MLP. DINOv2 groups blocks
    (``blocks.<chunk>.<block>.``) in training files, names the registers and the gated MLP in another way, and with
    registers keeps a position for the class token, which timm adds to the token.
    """
    if 'storage_tokens' in weights or 'rope_embed.periods' in weights:
        return dinov3_to_timm(weights)
    renamed = {_renamed(name, _VIT_NAMES): value for name, value in weights.items()}
    if {'register_tokens', 'cls_token', 'pos_embed'} <= renamed.keys():
        renamed['reg_token'] = renamed.pop('register_tokens')
        renamed['cls_token'] = renamed['cls_token'] + renamed['pos_embed'][:, :1]
        renamed['pos_embed'] = renamed['pos_embed'][:, 1:]
    return renamed


def dinov3_to_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of DINOv3's transformer -> timm's, whose rotary positions are computed.

    Keys have no bias there, whatever the file holds. Where queries and values have none either, all of theirs being 0
    as in the published files, they are left out: timm has networks without and, called ``_qkvb``, with them.
    """
    kept = {name: value for name, value in weights.items() if not _DINOV3_WITHOUT.search(name)}
    renamed = {_renamed(name, _DINOV3_NAMES): value for name, value in kept.items()}
    biases = {name: renamed.pop(name).chunk(3) for name in list(renamed) if name.endswith('.attn.qkv.bias')}
    if any(query.any() or value.any() for query, _, value in biases.values()):
        for name, (query, _, value) in biases.items():
            stem = name.removesuffix('qkv.bias')
            renamed |= {f'{stem}q_bias': query, f'{stem}v_bias': value}
    return renamed


def dinov3_hugging_face_to_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of DINOv3's transformer as the ``transformers`` library names them -> timm's."""
    renamed = {_renamed(name, _DINOV3_HUGGING_FACE_NAMES): value for name, value in weights.items()}
    up = '.mlp.w2.' if any('.mlp.w1.' in name for name in renamed) else '.mlp.fc1.'
    renamed = {name.replace('.mlp.up_proj.', up): value for name, value in renamed.items()}
    for name in [name for name in renamed if name.endswith('.attn.q_proj.bias')]:
        renamed[name.replace('.q_proj.', '.k_proj.')] = torch.zeros_like(renamed[name])
    return dinov3_to_timm(_joined(renamed, '.attn.{}_proj.', 'qkv'))


def hugging_face_to_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a ViT or DINOv2 as the ``transformers`` library names them -> timm's VisionTransformer."""
    renamed = {_renamed(name, _HUGGING_FACE_NAMES): value for name, value in weights.items()}
    return vit_to_timm(_joined(renamed, '.attention.attention.{}.', ('query', 'key', 'value')))


def convnext_to_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a ConvNeXt in the layout of its authors, which DINOv3 shares -> timm's."""
    renamed = {_renamed(name, _CONVNEXT_NAMES): value for name, value in weights.items()}
    return {name: value.flatten() if '.grn.' in name else value for name, value in renamed.items()}


def _joined(weights: dict[str, Tensor], pattern: str, parts: Iterable[str]) -> dict[str, Tensor]:
    """Query, key and value, three layers of a file, as the one that timm has."""
    query, key, value = (pattern.format(part) for part in parts)
    joined = dict(weights)
    for name in [name for name in weights if query in name]:
        found = [joined.pop(name.replace(query, part), None) for part in (query, key, value)]
        if all(part is not None for part in found):
            joined[name.replace(query, '.attn.qkv.')] = torch.cat(found)
    return joined


def _renamed(name: str, patterns: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name
