"""Distances of two affinities and of two frames."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number

EPS = 1e-12


@MODELS.register_module()
class AffinityLoss(nn.Module):
    """Squared difference of affinity rows, averaged over the selected queries.

    Args:
        reduction: ``element`` divides by the number of key positions too, the ones outside the window included
            (released code, weight 1000 for the local, 50 for the global term); ``query`` averages the squared norm of
            the difference over queries (the paper's sum, normalised).
    """

    def __init__(self, reduction: Literal['element', 'query'] = 'element') -> None:
        super().__init__()
        check_choice('reduction', reduction, ('element', 'query'))
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Distance of two affinities over the same key cells.

        Args:
            prediction: ``[B, Q, K]``; ``K`` cells of a window, or all ``Q`` positions.
            target: ``[B, Q, K]``.
            weight: ``[B, Q]``, 1 where a query counts (or a soft weight); ``None``: all count.

        Returns:
            A scalar. The denominator of ``element`` is ``Q`` times the sum of the weights: both frames share one grid,
            so a full row has ``Q`` entries, of which those outside the window are 0 on both sides.
        """
        squared = (prediction - target).square().sum(-1)
        columns = squared.shape[1] if self.reduction == 'element' else 1
        if weight is None:
            return squared.mean() / columns
        weight = weight.to(squared.dtype)
        return (squared * weight).sum() / (columns * weight.sum() + EPS)


@MODELS.register_module()
class ReconstructionLoss(nn.Module):
    """Mean distance over all pixels and channels.

    Args:
        distance: ``smooth_l1`` is what the released code runs; with ``scale=20`` a difference ``d`` costs ``200 d^2``
            up to 0.05 and ``20 |d| - 0.5`` above. ``l1`` is what the paper prints (STT, Eq. 5).
        scale: both frames are multiplied by it first.
    """

    def __init__(self, distance: Literal['smooth_l1', 'l1'] = 'smooth_l1', scale: float = 20.0) -> None:
        super().__init__()
        check_choice('distance', distance, ('smooth_l1', 'l1'))
        check_number('scale', scale, above=0)
        self.distance = F.smooth_l1_loss if distance == 'smooth_l1' else F.l1_loss
        self.scale = scale

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``[B, C, H, W]`` twice, to a scalar."""
        return self.distance(prediction * self.scale, target * self.scale)


@MODELS.register_module()
class ColorClassLoss(nn.Module):
    """Cross-entropy of colours that were rebuilt as probabilities, the mean over all pixels."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``[B, K, H, W]``, probabilities, whose sum may be below 1, and int64 ``[B, 1, H, W]``, to a scalar."""
        return -(prediction.gather(1, target) + EPS).log().mean()
