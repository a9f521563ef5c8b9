"""Points that something hides: carried straight back from where they were found, they do not arrive."""

import copy

import torch
from torch import Tensor

from stt_mm.models.propagator import LabelPropagator
from stt_mm.ops import label_to_points, points_to_label, to_device
from stt_mm.ops.points import INPUT


class RoundTrip:
    """Whether points that were found in a frame lead back to where they were given.

    The way back is one step of the protocol from the frame alone to the frame that a point was given in, with the same
    vote and codec, and no window: however far a point has come, it must be found again among all cells. Each point goes
    by itself.

    Args:
        propagator: whose protocol has an ``occlusion``.
    """

    def __init__(self, propagator: LabelPropagator) -> None:
        self._back = copy.copy(propagator)
        self._back.protocol = propagator.protocol.change(
            dict(
                window=None,
                first_window=True,
                border='excluded',
                long_search=None,
                first_frame='once',
                fixed=(0,),
                lags=None,
                num_context=1,
            )
        )

    def hidden(self, feature: Tensor, found: Tensor, origin: Tensor, given: Tensor, size: tuple[int, int]) -> Tensor:
        """Which points do not come back.

        Args:
            feature: ``[C, h, w]`` of the frame.
            found: ``[J, 2]``, (x, y) in pixels, where the points were found in it, negative where lost.
            origin: ``[C, h, w]`` of the frame that they were given in.
            given: ``[J, 2]``, where they were given.
            size: (height, width) of the frames.

        Returns:
            bool ``[J]``; True for a point that is lost.
        """
        protocol = self._back.protocol
        codec, input_size = protocol.points or INPUT, protocol.input_size(size)
        lost = (found < 0).any(1)
        drawn = torch.where(lost[:, None], torch.nan, found)
        self._back.start(feature, points_to_label(drawn, size, input_size, tuple(feature.shape[1:]), codec))
        back = label_to_points(self._back.step(origin), size, input_size, codec)
        scale = to_device(torch.tensor([input_size[1] / size[1], input_size[0] / size[0]]), back.device)
        far = ((back - given) * scale).norm(dim=1) > protocol.occlusion
        return lost | (back < 0).any(1) | far
