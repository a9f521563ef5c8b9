"""The geometry of a network: what decides its features besides its weights, and leaves no trace in them."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stt_mm.utils.checkpoint import CheckpointError

logger = logging.getLogger(__name__)


def describe(geometry: Mapping[str, Any]) -> str:
    """A geometry on one line: ``network ResNet, depth 18, pool none, strides 1 2 2 4, ...``."""
    return ', '.join(
        f'{name} {" ".join(map(str, value)) if isinstance(value, list | tuple) else value}'
        for name, value in geometry.items()
    )


def check_geometry(
    path: str | Path, trained: Mapping[str, Any] | None, used: Mapping[str, Any] | None, allow_other: bool = False
) -> None:
    """Refuse to use a network in another geometry than the one that it was trained in.

    Strides and the like hold no parameters, so that the weights fit and only the scores tell. Numbers per stage are
    compared up to the stage that is used; a projection comes after all of these. A file or a network of which no
    geometry is known (``None``) passes.
    """
    differing = differences(trained, used)
    if not differing:
        return
    message = (
        f'{path} was trained in another geometry: {describe(trained)}; the network at hand has '
        f'{describe(used)}. They differ in {", ".join(differing)}.'
    )
    if not allow_other:
        raise CheckpointError(
            f'{message} Take the config for that geometry (the training config will do), or pass '
            '--allow-other-geometry (allow_other_geometry=True).'
        )
    logger.warning('%s', message)


def differences(trained: Mapping[str, Any] | None, used: Mapping[str, Any] | None) -> list[str]:
    """The names in which two geometries differ, none if one is not known; see :func:`check_geometry`."""
    if trained is None or used is None:
        return []
    stage = re.fullmatch(r'res(\d)', str(used.get('stage')))
    levels = int(stage[1]) - 1 if stage else None
    return [
        name
        for name in dict.fromkeys([*trained, *used])
        if (levels is None or name != 'projection') and _cut(trained.get(name), levels) != _cut(used.get(name), levels)
    ]


def _cut(value: Any, levels: int | None) -> Any:
    return list(value)[:levels] if isinstance(value, list | tuple) else value
