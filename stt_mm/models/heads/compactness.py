"""Compactness of affinities (LIIR, section 3.3)."""

from mmengine.model import BaseModule
from torch import Tensor

from stt_mm.ops import gathered, window_mask
from stt_mm.registry import MODELS
from stt_mm.utils.checks import check_count, check_number


@MODELS.register_module()
class CompactnessHead(BaseModule):
    """Pull the affinity of each query to a mixture of Gaussians around its highest cells (LIIR, Eqs. 7 and 8).

    The mixture is a target without a gradient. The equation of the loss is lost in the paper's text; distance and
    weight are those of the public unofficial code, whose narrow mixtures, for sure queries alone, are
    ``sigma=0.4247, normalised=False, threshold=0.5``.

    Args:
        loss: config of the distance, such as ``dict(type='ReconstructionLoss')``. Cells that do not count are equal.
        stage: stage whose affinity is compared.
        weight: factor on the loss.
        components: number of Gaussians.
        sigma: standard deviation of all of them in cells; ``None``: estimated.
        normalised: the mixture sums to 1, see :func:`stt_mm.ops.gathered`.
        threshold: queries whose highest cell has this share or less do not count.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        loss: dict,
        stage: str = 'res5',
        weight: float = 1.0,
        components: int = 2,
        sigma: float | None = None,
        normalised: bool = True,
        threshold: float = 0.0,
    ) -> None:
        super().__init__()
        check_number('weight', weight, 0)
        check_count('components', components)
        if sigma is not None:
            check_number('sigma', sigma, above=0)
        check_number('threshold', threshold, 0, 1)
        self.loss_fn = MODELS.build(loss)
        self.stages = (stage,)
        self.weight = weight
        self.components = components
        self.sigma = sigma
        self.normalised = normalised
        self.threshold = threshold

    def loss(
        self, affinity: Tensor, grid: tuple[int, int], radius: int | None, border: str = 'excluded'
    ) -> dict[str, Tensor]:
        """Distance of an affinity and its mixture.

        Args:
            affinity: ``[B, H * W, K]`` of :func:`stt_mm.ops.local_affinity`, of one frame.
            grid: ``(H, W)``.
            radius: half width of the window; ``None``: the whole frame.
            border: what cells outside the frame are; excluded ones are in no mixture.

        Returns:
            ``loss_compact``.
        """
        size = grid if radius is None else (2 * radius + 1,) * 2
        heat = affinity.unflatten(2, size).permute(0, 2, 3, 1)
        rows = columns = None
        if radius is not None and border == 'excluded':
            inside = window_mask(*grid, radius, affinity.device).view(-1, *size)
            rows, columns = (inside.any(side).T[None, :, None] for side in (2, 1))
        mixture = gathered(heat.detach()[:, :, :, None], rows, columns, self.components, self.sigma, self.normalised)
        target = mixture.maps()[:, :, :, 0]
        if self.threshold:
            counts = (mixture.best > self.threshold)[:, None].to(heat.dtype)
            heat, target = heat * counts, target * counts
        return dict(loss_compact=self.weight * self.loss_fn(heat, target))
