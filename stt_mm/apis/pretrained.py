"""Networks by one name: built, filled and frozen."""

import copy
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from stt_mm.engine import load_model_config, override
from stt_mm.errors import InputError
from stt_mm.ops.color import color_space
from stt_mm.protocols import get_protocol
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import CheckpointError, existing, read_checkpoint
from stt_mm.utils.checks import usable_device
from stt_mm.utils.key_maps import meta_of
from stt_mm.utils.weights import geometry_in, protocol_in
from stt_mm.version import __version__

if TYPE_CHECKING:
    from stt_mm.models import Correspondence


def load(
    name_or_path: str | Path, config: str | Path | Config | None = None, device: str | torch.device | None = None
) -> 'Correspondence':
    """A network, frozen and in evaluation mode.

    Args:
        name_or_path: a network that comes with the package, such as ``stt_r18_demo``, or a file. One that training or
            publishing wrote says all that is needed; any other needs a ``config``.
        config: what says how the network is built, as for :class:`stt_mm.apis.VideoPropagator`; ``None``: the file.
        device: such as ``cuda:1``; ``None``: the first GPU if there is one.

    Returns:
        The :class:`stt_mm.models.Correspondence`. Called with normalised frames ``[B, 3, H, W]`` it gives the map that
        is compared, ``[B, C, h, w]``; ``extract_feat(frames)`` all maps, by their stage. ``geometry`` says how it is
        built, ``protocol`` how it carries labels.

    Raises:
        FileNotFoundError: neither a file nor a name that is known. ValueError: the file cannot be used, or does not say
            how its network is built.
    """
    if config is None:
        config = stated_config(name_or_path)
    return build(config, name_or_path, device)[0].requires_grad_(False)


def stated_config(name_or_path: str | Path) -> Config:
    """What :func:`config_in` finds.

    Raises:
        FileNotFoundError, ValueError: as :func:`load`.
    """
    config = config_in(name_or_path)
    if config is None:
        raise CheckpointError(
            f'{existing(name_or_path)} does not say how its network is built. Name a config of it: config=CONFIG '
            '(--config CONFIG), such as eval/davis_r18_s8.'
        )
    return config


def config_for(name_or_path: str | Path | None, trust: bool = False) -> Config | str:
    """What :func:`config_in` finds; where a file says nothing, or without one, STT's ResNet-18 on DAVIS."""
    return (name_or_path and config_in(name_or_path, trust)) or 'eval/davis_r18_s8'


def config_in(name_or_path: str | Path, trust: bool = False) -> Config | None:
    """The config of the network in a file, up to the stage that is compared, with its protocol.

    A file that does not name a protocol gets STT's for DAVIS at its stride, in its colours.

    Args:
        name_or_path: as of :func:`load`.
        trust: as in :func:`stt_mm.utils.checkpoint.read_checkpoint`.

    Returns:
        ``None`` if the file says too little: those of other projects, of stage 1, and of other networks than ResNets.
    """
    path = existing(name_or_path)
    checkpoint = read_checkpoint(path, trust)
    version = meta_of(checkpoint).get('stt_mm_version', __version__)
    geometry, protocol = geometry_in(checkpoint), protocol_in(checkpoint)
    if geometry is None or geometry.get('network') != 'ResNet' or not {'stage', 'color'} <= geometry.keys():
        return None
    backbone, stride = _backbone(path, geometry)
    if protocol is None:
        protocol = dict(name='stt_davis_s4' if stride == 4 else 'stt_davis_s8')
        if color_space(get_protocol(protocol).color) != geometry['color']:
            protocol['color'] = geometry['color']
    propagator = dict(type='LabelPropagator', protocol=dict(protocol))
    model = dict(type='Correspondence', backbone=backbone, propagator=propagator, feature_stage=geometry['stage'])
    # What cannot be built then is named after the file, and may be of another time.
    return Config(dict(model=model, stated_by=str(path) + (f' of stt_mm {version}' if version != __version__ else '')))


def _backbone(path: Path, geometry: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Config of the backbone that a file was written of, up to the stage that is compared, and its stride there."""
    try:
        strides, widths, stage = list(geometry['strides']), list(geometry['widths']), str(geometry['stage'])
        if found := re.fullmatch(r'res([2-5])', stage):
            count = int(found[1]) - 1
            strides, widths = strides[:count], widths[:count]
        backbone = dict(
            type='CorrespondenceResNet',
            depth=geometry['depth'],
            geometry=(geometry['pool'], strides),
            out_indices=tuple(range(len(strides))),
            padding_mode=geometry['padding'],
            widths=widths,
        )
        if stage == 'projection':
            backbone['projection'] = geometry['projection']
        if position := re.fullmatch(r'(\w+?)(?: (\w+))? (\d+) x (\d+)', str(geometry.get('position', ''))):
            kind, combine, height, width = position.groups()
            backbone['position'] = dict(type='PositionMap', size=(int(height), int(width)), kind=kind) | (
                dict(combine=combine) if combine else {}
            )
        return backbone, 2 * (1 if geometry['pool'] == 'none' else 2) * math.prod(strides)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f'{path} does not say all of its geometry ({error!r}). Publish it anew.') from error


def build(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    options: dict[str, Any] | None = None,
    trust_checkpoint: bool = False,
    allow_partial: bool = False,
    prefix: str | None = None,
    allow_other_geometry: bool = False,
) -> tuple['Correspondence', Config]:
    """The network of a config on a device, in evaluation mode, and the config; see :class:`VideoPropagator`."""
    from stt_mm.models import Correspondence, load_for_evaluation  # a second, which an import should not take

    if isinstance(config, Config):
        cfg = copy.deepcopy(config)
        override(cfg, options)
    else:
        cfg = load_model_config(config, options)
    device = usable_device(device)
    with DefaultScope.overwrite_default_scope('stt_mm'):
        try:
            model = MODELS.build(cfg.model)
        except InputError as error:
            if options or 'stated_by' not in cfg:
                raise
            raise CheckpointError(f'{cfg.stated_by} is of a network that cannot be built here: {error}') from error
        if not isinstance(model, Correspondence) or model.propagator is None:
            raise InputError(
                f'{cfg.filename or "The config"} has no model with a propagator; take one of configs/eval.'
            )
        load_for_evaluation(model, checkpoint, trust_checkpoint, allow_partial, prefix, allow_other_geometry)
    return model.to(device).to(memory_format=torch.channels_last).eval(), cfg
