"""The labels of one video in work."""

import logging

import numpy as np
import torch
from torch import Tensor

from stt_mm.apis.given import Given
from stt_mm.models import LabelPropagator
from stt_mm.ops import keypoints_to_label, label_to_keypoints, mask_to_label

logger = logging.getLogger(__name__)

LOST = (-1.0, -1.0)


class Tracker:
    """Masks and points of one video, in one propagator.

    Args:
        propagator: in no other use; its protocol's codec of joints is not used, see :meth:`step`.
    """

    def __init__(self, propagator: LabelPropagator) -> None:
        self._propagator = propagator
        self._age = -1
        self._channels = 0
        self._has_masks = False
        self._points: list[slice] = []

    @torch.no_grad()
    def step(self, feature: Tensor, size: tuple[int, int], given: Given | None) -> tuple[np.ndarray, np.ndarray]:
        """The next frame.

        Args:
            feature: ``[C, h, w]``.
            size: (height, width) of the frame as decoded.
            given: what is new in this frame; never ``None`` for the first one.

        Returns:
            uint8 ``[H, W]``, ids of all objects, new ones over those that were there, and float32 ``[J, 2]``, (x, y) of
            all points in pixels of the frame, (-1, -1) where one is lost. Points travel as the heat maps of STT's
            JHMDB protocol, drawn at the size of the network's input, whatever the protocol.
        """
        self._age += 1
        mask, points = np.zeros(size, np.uint8), np.empty((0, 2), np.float32)
        if self._age:
            label = self._propagator.step(feature)
            self._channels = label.shape[0]
            if self._has_masks:
                mask = self._propagator.to_mask(label)[0].cpu().numpy()
            if self._points:
                points = self._found(torch.cat([label[part] for part in self._points]), size)
        if given is not None:
            self._follow(feature, size, given)
            points = np.concatenate([points, given.points])
            mask = mask if given.mask is None else np.where(given.mask > 0, given.mask, mask)
        return mask, points

    def _follow(self, feature: Tensor, size: tuple[int, int], given: Given) -> None:
        if len(given.points):
            # The maps are drawn on the network's input, so that their width does not depend on the video's size, and
            # around whole pixels, because the codec would round down.
            input_size = self._input_size(size)
            centres = torch.from_numpy(_rescale(given.points, size, input_size).round())
            maps = keypoints_to_label(centres, input_size, input_size, feature.shape[1:], 'stt').to(feature)
            if self._age:
                self._propagator.add_labels(self._age, maps)
            else:
                self._propagator.start(feature, maps)
            self._points.append(slice(self._channels, self._channels + len(centres)))
        if given.mask is not None:
            self._warn_of_lost(given, feature.shape[1:])
            mask = torch.from_numpy(given.mask)
            if self._age or len(given.points):
                self._propagator.add_mask(self._age, mask)
            else:
                self._propagator.start_mask(feature, mask)
            self._has_masks = True

    def _found(self, label: Tensor, size: tuple[int, int]) -> np.ndarray:
        input_size = self._input_size(size)
        found = label_to_keypoints(label, input_size, 'stt').float().cpu().numpy()
        points = _rescale(found, input_size, size).clip(0, (size[1] - 1, size[0] - 1))
        return np.where(found < 0, LOST, points).astype(np.float32)

    def _input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self._propagator.protocol.input_size(size)

    @staticmethod
    def _warn_of_lost(given: Given, grid: tuple[int, int]) -> None:
        ids = mask_to_label(torch.from_numpy(given.mask), tuple(grid))[1]
        lost = sorted(set(np.unique(given.mask).tolist()) - set(ids))
        if lost:
            logger.warning(
                '%s: object %s falls between the %dx%d cells of the features and is lost at once. Follow it '
                'as a point, or take a finer grid: a config at stride 4, or a larger '
                'model.propagator.protocol.short_side.',
                given.source,
                ', '.join(map(str, lost)),
                *grid,
            )


def _rescale(points: np.ndarray, size: tuple[int, int], other: tuple[int, int]) -> np.ndarray:
    """Points of a picture of (height, width) ``size`` where they lie when it is resized; centres are whole numbers."""
    scale = np.array([other[1] / size[1], other[0] / size[0]], np.float32)
    return (points + 0.5) * scale - 0.5
