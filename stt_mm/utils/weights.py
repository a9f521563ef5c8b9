"""From a checkpoint of any known source to the weights of a backbone, checked on the way."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stt_mm.utils.checkpoint import CheckpointError, read_checkpoint
from stt_mm.utils.geometry import check_geometry
from stt_mm.utils.key_maps import (
    SOURCES,
    Backbone,
    all_weights,
    find_backbone,
    flat_weights,
    meta_of,
    prefixes_in,
    weights_below,
)

logger = logging.getLogger(__name__)

# Of the names of a module, how many a file of no known source must have to be one for it.
MIN_RATIO = 0.99
_POSITION = 'position.'
_ADVICE = 'The training diverged or the file is damaged; take an earlier checkpoint of that training.'


def check_finite(weights: Mapping[str, Tensor], where: str | Path, advice: str) -> None:
    """Refuse weights that are infinite or not a number: nothing that is computed with them can be trusted."""
    for name, value in weights.items():
        if value.is_meta or value.layout != torch.strided or value.is_quantized:
            kind = 'has no values' if value.is_meta else f'is {"quantised" if value.is_quantized else "sparse"}'
            raise CheckpointError(f'{where}: {name} {kind}. Write the file from a network with plain tensors.')
        if not (finite := torch.isfinite(value)).all():
            wrong = value.numel() - int(finite.sum())
            raise CheckpointError(
                f'{where}: {name} holds {wrong} of {value.numel()} values that are infinite or not a number. {advice}'
            )


def geometry_in(checkpoint: Any) -> Mapping[str, Any] | None:
    """What the ``meta`` of a checkpoint says of the geometry of its network; ``None`` if it says nothing."""
    geometry = meta_of(checkpoint).get('geometry')
    return geometry if isinstance(geometry, Mapping) else None


def protocol_in(checkpoint: Any) -> Mapping[str, Any] | None:
    """What the ``meta`` of a checkpoint says of the protocol that it is meant for: its name, and fields that differ."""
    protocol = meta_of(checkpoint).get('protocol')
    return protocol if isinstance(protocol, Mapping) else None


def backbone_state_dict(checkpoint: Any, prefix: str | None = None) -> Backbone:
    """The backbone in a checkpoint of any known source: ResNets under torchvision's names, others under timm's."""
    found = find_backbone(checkpoint, prefix)
    if found is not None:
        return found
    names, prefixes = list(all_weights(checkpoint)), prefixes_in(checkpoint)
    held = f' Prefixes in the file: {", ".join(prefixes[:5])}.' if prefixes else ''
    keys = names or [f'none, it is a {type(checkpoint).__name__} without tensors']
    if prefix is not None:
        below = list(weights_below(checkpoint, prefix))
        what = f'No network that is known lies below the prefix {prefix!r}'
        raise CheckpointError(
            f'{what}; its names there: {", ".join(below[:5])}.{held}'
            if below
            else f'No name begins with the prefix {prefix!r}. First names: {", ".join(keys[:5])}.{held}'
        )
    raise CheckpointError(
        f'Unknown kind of checkpoint. Its first keys: {", ".join(keys[:5])}. Known sources: '
        f'{"; ".join(known.name for known in SOURCES)}. For any other say what stands before the '
        f"backbone's names: --prefix PREFIX (prefix=PREFIX).{held}"
    )


def read_backbone(
    path: str | Path, trust: bool = False, prefix: str | None = None
) -> tuple[Backbone, dict[str, Mapping]]:
    """The backbone in a file, all its weights finite, and what the file says of it: ``geometry``, ``protocol``."""
    checkpoint = read_checkpoint(path, trust=trust)
    found = _find(path, checkpoint, prefix)
    check_finite(found.weights, path, _ADVICE)
    said = dict(geometry=geometry_in(checkpoint), protocol=protocol_in(checkpoint))
    return found, {name: value for name, value in said.items() if value}


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_backbone` did. All names are those of the module; ``num_batches_tracked`` is not counted.

    Args:
        source: where the checkpoint comes from.
        matched: names that were filled.
        missing: names of the module that the checkpoint lacks.
        unexpected: names of the checkpoint that should be in the module but are not, such as a position map.
        mismatched: names in both, with different shapes or kinds of numbers (as text, ``name: file -> module``).
        unused: names of the checkpoint under a part that the module does not have, such as a later stage.
        geometry: what the file says about the network that was trained; ``None`` if it says nothing.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]
    geometry: Mapping[str, Any] | None = None

    @property
    def ratio(self) -> float:
        """Filled fraction of the module's parameters and buffers, between 0 and 1."""
        total = len(self.matched) + len(self.missing) + len(self.mismatched)
        return len(self.matched) / total if total else 0.0

    @property
    def complete(self) -> bool:
        """Whether every weight of the module is filled, and the file has no others of its parts."""
        return not (self.missing or self.mismatched or self.unexpected)

    def __str__(self) -> str:
        return (
            f'source: {self.source}; matched {len(self.matched)} ({self.ratio:.1%}), missing {len(self.missing)}, '
            f'mismatched {len(self.mismatched)}, unexpected {len(self.unexpected)}, unused {len(self.unused)}'
        )

    def details(self, limit: int = 5) -> str:
        """The first names of every list that is a problem, on one line."""
        lists = {'missing': self.missing, 'mismatched': self.mismatched, 'unexpected': self.unexpected}
        return '; '.join(
            f'{kind}: {", ".join(names[:limit])}{", ..." if len(names) > limit else ""}'
            for kind, names in lists.items()
            if names
        )


def load_backbone(
    module: nn.Module,
    path: str | Path,
    trust: bool = False,
    allow_partial: bool = False,
    prefix: str | None = None,
    geometry: Mapping[str, Any] | None = None,
    allow_other_geometry: bool = False,
    new: Sequence[str] = (),
) -> LoadReport:
    """Fill a backbone from a checkpoint of any known source.

    A checkpoint of no known source is taken too if its names are those of the module, so any architecture can be used.

    Args:
        module: the backbone, changed in place, and only if nothing is refused. One that wraps a network of another
            library holds it as ``network``, whose names count, and may name as ``classifier`` the prefixes of what it
            left out of it or never uses.
        path: checkpoint file.
        trust: as in :func:`stt_mm.utils.checkpoint.read_checkpoint`.
        allow_partial: accept a checkpoint that does not fill all of the module, or has more of its parts.
        prefix: what stands before the backbone's names in the file; ``None``: as the known sources have it.
        geometry: of the network that is to be evaluated (:attr:`stt_mm.models.Correspondence.geometry`), compared with
            what the file says about the one that was trained; ``None``: any will do, as at the start of a training.
        allow_other_geometry: only warn of another one.
        new: parts of the module that the file must be without, and that stay as they are, such as a position map.

    Raises:
        FileNotFoundError, CheckpointError: as in :func:`stt_mm.utils.checkpoint.read_checkpoint` and
            :func:`backbone_state_dict`, or if the checkpoint does not fit and ``allow_partial`` is not set, if it was
            trained in another geometry, or if a weight is infinite or not a number.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    recorded = geometry_in(checkpoint)
    check_geometry(path, recorded, geometry, allow_other_geometry)
    target = getattr(module, 'network', module)
    left_out = () if target is module else tuple(getattr(module, 'classifier', ()))
    kept = (*(f'{part}.' for part in new or ()), *left_out)
    wanted = {name: value for name, value in target.state_dict().items() if not name.startswith(kept)}
    found = _by_own_names(checkpoint, prefix, wanted) or _find(path, checkpoint, prefix)
    weights = found.weights
    if target is not module:
        weights = {name.removeprefix('network.'): value for name, value in weights.items()}
        weights = {name: value for name, value in weights.items() if not name.startswith(left_out)}
    fitting, report = _compare(wanted, weights, found, recorded)
    if not report.matched or not (report.complete or allow_partial):
        advice = '' if not report.matched else ' tools/test.py --allow-partial (allow_partial=True) loads it anyway.'
        if 'cls_token' in report.missing:
            advice = (
                ' The network in the file has no class token: build it without one (options=dict('
                "class_token=False, global_pool='avg') of a TimmBackbone)." + advice
            )
        elif any('pos_embed' in name for name in report.mismatched):
            advice = (
                ' The position embedding is for another image size: build the network for that of the checkpoint '
                '(img_size); it is resampled to each frame.' + advice
            )
        elif any(name.endswith('.attn.q_bias') for name in report.missing):
            advice = (
                ' The biases of queries and values in the file are 0 and left out: take the network without _qkvb.'
                + advice
            )
        elif any(name.startswith(_POSITION) for name in (*report.missing, *report.mismatched, *report.unexpected)):
            advice = (
                ' The network and the file must have the same position map, or none: see position of '
                'CorrespondenceResNet.' + advice
            )
        raise CheckpointError(f'{path} does not fit the backbone ({report}). {report.details()}.{advice}')
    check_finite(fitting, path, _ADVICE)
    if not report.complete:
        logger.warning('%s fills only a part of the backbone (%s). %s.', path, report, report.details(limit=20))
    if found.others:
        logger.warning('%s: %s', path, found.describe())
    if any(name.startswith('projection.') for name in report.unused):
        logger.warning(
            '%s has a last convolution, which the network at hand is built without, so that features before it are '
            'compared. To take it: model.backbone.projection=64 model.feature_stage=projection.',
            path,
        )
    target.load_state_dict(fitting, strict=False)
    return report


def _find(path: str | Path, checkpoint: Any, prefix: str | None) -> Backbone:
    try:
        return backbone_state_dict(checkpoint, prefix)
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from error


def _by_own_names(checkpoint: Any, prefix: str | None, wanted: dict[str, Tensor]) -> Backbone | None:
    """The weights as they are, if they have the module's names and what a known source makes of them does not."""
    weights = flat_weights(checkpoint) if prefix is None else weights_below(checkpoint, prefix)
    known = find_backbone(checkpoint, prefix)
    made = {} if known is None else {name.removeprefix('network.') for name in known.weights}
    least = MIN_RATIO * len(wanted)
    if len(wanted.keys() & weights.keys()) < least or known is not None and len(wanted.keys() & made) >= least:
        return None
    return Backbone(weights, 'names of the module', ())


def _compare(
    wanted: dict[str, Tensor], weights: dict[str, Tensor], found: Backbone, geometry: Mapping | None
) -> tuple[dict[str, Tensor], LoadReport]:
    parts = {name.split('.')[0] for name in wanted}
    fitting: dict[str, Tensor] = {}
    missing, mismatched = [], []
    for name, target in wanted.items():
        if name not in weights:
            missing.append(name)
        elif weights[name].shape != target.shape:
            mismatched.append(f'{name}: {tuple(weights[name].shape)} -> {tuple(target.shape)}')
        elif target.is_floating_point() and not weights[name].is_floating_point():
            # Integers are steps of a scale that is not here.
            mismatched.append(f'{name}: {weights[name].dtype} -> {target.dtype}')
        else:
            fitting[name] = weights[name].to(target.dtype)
    extra = [name for name in weights if name not in wanted]
    unexpected = [name for name in extra if name.split('.')[0] in parts or name.startswith(_POSITION)]
    lists = dict(
        matched=fitting,
        missing=missing,
        mismatched=mismatched,
        unexpected=unexpected,
        unused=[name for name in extra if name not in unexpected],
    )
    # Counts of batches change nothing, and tables of whole numbers are made by the network itself.
    made = {name for name in {*missing, *extra} if not {**weights, **wanted}[name].is_floating_point()}
    counted = {
        kind: tuple(name for name in names if 'num_batches_tracked' not in name and name not in made)
        for kind, names in lists.items()
    }
    return fitting, LoadReport(source=found.source, geometry=geometry, **counted)
