"""Networks of other libraries as backbones."""

from collections.abc import Iterable

from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import nn

from stt_mm.errors import InputError
from stt_mm.utils.checkpoint import load_backbone


class WrappedNetwork(BaseModule):
    """What wrappers of other libraries' networks share: named maps, and loading by the network's own names.

    Args:
        network: the network. Checkpoints are read under its names, without the wrapper's ``network.``.
        stages: names of the maps, lowest first.
        classifier: part of the original network that was left out; what a checkpoint holds of it is dropped.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` loads any recognised checkpoint strictly
            (``stt_mm.utils.checkpoint``); ``None``: as the library initialises the network.
    """

    def __init__(self, network: nn.Module, stages: Iterable[str], classifier: tuple[str, ...] = (),
                 init_cfg: dict | None = None) -> None:
        super().__init__()
        if init_cfg is not None and (init_cfg.get('type') != 'Pretrained' or set(init_cfg) != {'type', 'checkpoint'}):
            raise InputError(f"{type(self).__name__}: init_cfg must be None or dict(type='Pretrained', "
                             f'checkpoint=PATH), got {init_cfg}.')
        self.network = network
        self.classifier = classifier
        self.checkpoint = None if init_cfg is None else init_cfg['checkpoint']
        self._stages = tuple(stages)

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
        if self.checkpoint is not None:
            report = load_backbone(self, self.checkpoint)
            MMLogger.get_current_instance().info('%s: %s', type(self).__name__, report)
