"""Networks of other libraries as backbones."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import nn

from stt_mm.errors import InputError
from stt_mm.utils.checks import check_value
from stt_mm.utils.weights import LoadReport, load_backbone


def pretrained(owner: str, init_cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The arguments of :func:`load_backbone` in an ``init_cfg`` of type ``Pretrained``.

    Args:
        owner: name of the backbone's class, for the message.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)``, with ``prefix=PREFIX`` for files of no known source, and
            ``new=PARTS`` for parts that the file is without, such as ``('position',)``.

    Returns:
        ``path`` and, if given, ``prefix`` and ``new``; ``None`` for ``None``.

    Raises:
        ValueError: for anything else.
    """
    if init_cfg is None:
        return None
    keys = set(init_cfg) - {'prefix', 'new'}
    if keys != {'type', 'checkpoint'} or init_cfg['type'] != 'Pretrained':
        raise InputError(
            f"{owner}: init_cfg must be None or dict(type='Pretrained', checkpoint=PATH), and may have a "
            f'prefix and a list of new parts; got {init_cfg}.'
        )
    check_value(f'{owner}: init_cfg.new', init_cfg.get('new'), Sequence[str] | None)
    return dict(path=init_cfg['checkpoint']) | {key: init_cfg[key] for key in ('prefix', 'new') if key in init_cfg}


def plain(settings: Any) -> Any:
    """Settings as data that any file keeps: dicts, lists, numbers and text."""
    return json.loads(json.dumps(settings, default=str))


def sides_advice(height: int, width: int, multiple: int) -> str:
    """What to do about a frame whose sides must be multiples of this many pixels and are not."""
    short = max(min(height, width) // multiple, 1) * multiple
    return (
        f'Both sides must be multiples of {multiple}: let the protocol see to that, propagator=dict('
        f'protocol=dict(..., short_side={short}, multiple={multiple})).'
    )


def stage_index(stage: str | int, names: list[str], model_name: str) -> int:
    """Position from 0 of a stage that is named, or given by its position from either end.

    Raises:
        ValueError: the network has none of that name or position.
    """
    if isinstance(stage, int) and -len(names) <= stage < len(names):
        return stage % len(names)
    if stage in names:
        return names.index(stage)
    raise InputError(
        f'{model_name} has no stage {stage!r}. Its stages: {", ".join(names)}, or positions from '
        f'{-len(names)} to {len(names) - 1}.'
    )


class WrappedNetwork(BaseModule):
    """What wrappers of other libraries' networks share: named maps, and loading by the network's own names.

    Args:
        network: the network. Checkpoints are read under its names, without the wrapper's ``network.``.
        stages: names of the maps, lowest first.
        classifier: part of the original network that was left out, or that no map goes through; what a checkpoint
            holds of it is dropped.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` loads any recognised checkpoint strictly
            (``stt_mm.utils.weights``), ``prefix=PREFIX`` what lies below it in any other; ``None``: as the library
            initialises the network.

    Attributes:
        report: what the checkpoint of ``init_cfg`` filled; ``None`` without one, or before it is read.
    """

    def __init__(
        self, network: nn.Module, stages: Iterable[str], classifier: tuple[str, ...] = (), init_cfg: dict | None = None
    ) -> None:
        super().__init__()
        self.pretrained = pretrained(type(self).__name__, init_cfg)
        self.report: LoadReport | None = None
        self.network = network
        self.classifier = classifier
        self._stages = tuple(stages)

    @property
    def checkpoint(self) -> str | None:
        """File of ``init_cfg``."""
        return self.pretrained and self.pretrained['path']

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the maps that ``forward`` returns, lowest first."""
        return self._stages

    def keep_stages(self, stages: Iterable[str]) -> None:
        """Return only these stages.

        Args:
            stages: names among :attr:`stages`.
        """
        wanted = set(stages)
        self._stages = tuple(stage for stage in self._stages if stage in wanted)

    def init_weights(self) -> None:
        """The checkpoint of ``init_cfg``, loaded strictly; without one, what the library's constructor drew stays.

        Raises:
            FileNotFoundError: if the checkpoint does not exist.
            ValueError: if it is not readable, not recognised, or fits less than 99 % of the network.
        """
        if self.pretrained is not None:
            self.report = load_backbone(self, **self.pretrained)
            MMLogger.get_current_instance().info('%s: %s', type(self).__name__, self.report)
