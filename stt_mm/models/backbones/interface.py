"""What the models ask of a backbone, their own or a user's: no base class, only these attributes."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from stt_mm.ops.color import Color, color_space
from stt_mm.utils.weights import LoadReport


@runtime_checkable
class Backbone(Protocol):
    """A module that maps frames to maps; all that evaluation needs.

    Where it holds the network of another library as ``network``, checkpoints are read under that network's own names,
    less the prefixes in a tuple ``classifier`` (:func:`stt_mm.utils.weights.load_backbone`). Where it has
    ``statistics``, mean and deviation of R, G and B in [0, 1], protocols may leave the colours to it.

    Attributes:
        stages: names of the maps that it returns, lowest first: ``res2`` to ``res5`` for a ResNet.
    """

    stages: tuple[str, ...]

    def __call__(self, frames: Tensor) -> tuple[Tensor, ...]:
        """``[B, 3, H, W]``, normalised, to one ``[B, d, h, w]`` per stage."""


@runtime_checkable
class StagedBackbone(Backbone, Protocol):
    """A backbone that leaves out what nobody uses; training and late fusion ask for it."""

    def keep_stages(self, stages: Iterable[str]) -> None:
        """Return only these of the stages from now on."""


@runtime_checkable
class LoadedBackbone(Backbone, Protocol):
    """A backbone whose ``init_cfg`` can name a checkpoint, which it then loads strictly in ``init_weights``.

    Attributes:
        checkpoint: the file; ``None`` without one.
        report: what it filled; ``None`` without one, or before it is read.
    """

    checkpoint: str | None
    report: LoadReport | None


@runtime_checkable
class GeometricBackbone(Backbone, Protocol):
    """A backbone whose features are decided by more than its weights: what its checkpoints should record."""

    def geometry(self) -> dict[str, Any]:
        """Plain data by name, such as the depth and the strides of a ResNet."""


def geometry_of(network: nn.Module, stage: str, color: Color | None) -> dict[str, Any] | None:
    """Geometry of a network of which one stage is evaluated in some colours; ``None`` if it has none."""
    if not isinstance(network, GeometricBackbone):
        return None
    # Another mean or deviation, such as DINO's 0.228 of red, makes no other colours.
    return dict(network.geometry(), stage=stage, **({} if color is None else dict(color=color_space(color))))
