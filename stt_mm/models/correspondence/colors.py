"""What colours a network sees, and what else decides its features."""

from typing import Any

from torch import nn

from stt_mm.errors import InputError
from stt_mm.models.backbones import GeometricBackbone
from stt_mm.ops.color import Color, color_space

NETWORK = 'network'  # the colours that a network states


def geometry_of(network: nn.Module, stage: str, color: Color | None) -> dict[str, Any] | None:
    """Geometry of a network of which one stage is evaluated in some colours; ``None`` if it has none."""
    if not isinstance(network, GeometricBackbone):
        return None
    # Another mean or deviation, such as DINO's 0.228 of red, makes no other colours.
    return dict(network.geometry(), stage=stage, **({} if color is None else dict(color=color_space(color))))


def color_of(network: nn.Module | None, color: Color) -> Color:
    """The colours that a network sees: those that are named, or if these are ``network`` what it says of itself.

    Raises:
        ValueError: it does not say.
    """
    if color != NETWORK:
        return color if isinstance(color, str) else tuple(map(tuple, color))
    statistics = getattr(network, 'statistics', None)
    if statistics is None:
        raise InputError(
            f"color='network' takes the mean and deviation that the network states, and {type(network).__name__} "
            "states none. Name them: protocol=dict(..., color=((R, G, B), (R, G, B))), or 'rgb' for those of ImageNet."
        )
    return tuple(tuple(map(float, values)) for values in statistics)
