"""Streaming label propagation with bounded memory, under a named protocol."""

from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops import label_to_mask, mask_to_label, propagate
from stt_mm.registry import MODELS


@MODELS.register_module()
class LabelPropagator:
    """Carry the labels of the first frame through a video, one frame at a time.

    The memory of frame ``t`` is the first frame and the ``num_context`` frames before ``t``; while those still reach
    back to the first frame it stands in the memory twice, and both copies take part in the top-k, as in the published
    evaluation. Memory does not grow with the length of the video.

    Args:
        protocol: name that is written into logs and results.
        version: version of the protocol.
        radius: half width of the square window, in cells, both ends included.
        topk: matches that vote for each position.
        temperature: of the softmax over the survivors.
        num_context: frames remembered besides the first.
        normalize: compare by cosine.
    """

    def __init__(self,
                 protocol: str = 'stt_davis_s8',
                 version: int = 1,
                 radius: int = 12,
                 topk: int = 10,
                 temperature: float = 0.07,
                 num_context: int = 20,
                 normalize: bool = True) -> None:
        if radius < 0 or topk < 1 or num_context < 1 or temperature <= 0:
            raise ValueError('Expected radius >= 0, topk >= 1, num_context >= 1 and temperature > 0, got '
                             f'{radius}, {topk}, {num_context} and {temperature}.')
        self.protocol = dict(
            name=protocol, version=version, radius=radius, window='square', topk=topk,
            temperature=temperature, num_context=num_context, first_frame='kept, repeated while in context',
            normalize=normalize, first_label='one-hot, pixel-centre nearest', feedback='soft',
            output='bilinear, min-max per channel, arg-max')
        self.radius = radius
        self.topk = topk
        self.temperature = temperature
        self.normalize = normalize
        self._first: tuple[Tensor, Tensor] | None = None
        self._context: deque[tuple[Tensor, Tensor]] = deque(maxlen=num_context)

    def start(self, feature: Tensor, label: Tensor) -> None:
        """Begin a video.

        Args:
            feature: ``[C, h, w]``, features of the first frame.
            label: ``[K, h, w]``, its labels on the same grid.

        Raises:
            ValueError: if the grids differ.
        """
        if feature.shape[1:] != label.shape[1:]:
            raise ValueError(f'Features have grid {tuple(feature.shape[1:])}, labels {tuple(label.shape[1:])}.')
        self._first = self._prepare(feature), label
        self._context.clear()
        self._context.append(self._first)

    def start_mask(self, feature: Tensor, mask: Tensor) -> None:
        """Begin a video with object ids ``[H, W]`` at any size; see :meth:`start`."""
        self.start(feature, mask_to_label(mask.to(feature.device), feature.shape[1:]))

    def step(self, feature: Tensor) -> Tensor:
        """Labels of the next frame.

        Args:
            feature: ``[C, h, w]``.

        Returns:
            ``[K, h, w]``, soft labels, which also enter the memory.

        Raises:
            RuntimeError: before :meth:`start`.
            ValueError: if the frame's grid differs from the first frame's.
        """
        if self._first is None:
            raise RuntimeError('Call start() with the first frame and its labels before step().')
        if feature.shape != self._first[0].shape:
            raise ValueError(f'The first frame had features {tuple(self._first[0].shape)}, this one has '
                             f'{tuple(feature.shape)}: all frames of a video must share one size.')
        feature = self._prepare(feature)
        memory = [self._first, *self._context]
        keys, labels = (torch.stack(column) for column in zip(*memory, strict=True))
        label = propagate(feature, keys, labels, self.radius, self.topk, self.temperature)
        self._context.append((feature, label))
        return label

    def step_mask(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Object ids of the next frame, uint8 ``[H, W]`` at ``size``; see :meth:`step`."""
        return label_to_mask(self.step(feature), size)

    def _prepare(self, feature: Tensor) -> Tensor:
        return F.normalize(feature, dim=0) if self.normalize else feature
