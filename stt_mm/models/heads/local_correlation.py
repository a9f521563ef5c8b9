"""Local correlation distillation with entropy-based selection (STT, section 3.2)."""

from typing import Literal

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops import KEEP, local_affinity, pool_local_affinity, select_queries
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number


@MODELS.register_module()
class LocalCorrelationHead(BaseModule):
    """The fine stage's local affinity, pooled to the coarse grid, teaches the coarse stage's affinity.

    Args:
        loss: config of the distance.
        weight: factor on the loss; 1000 in the released code.
        fine: stage that teaches.
        coarse: stage that learns. Stages of one grid are compared without pooling.
        pooling: ``avg`` averages both sides (released code; rows of the pseudo label sum to 1/4), ``sum`` keeps the
            mass at 1, ``logit`` averages the correlations before the softmax.
        detach: no gradient into the pseudo label.
        selection: which queries are distilled. ``released``: the released code's row of thresholds; ``per_image``: the
            intended rule; ``batch``: one threshold per batch; ``soft``: weights instead of a choice; ``None``: all.
        measure: ``neg_log_sum`` (paper's equation and released code) keeps the most peaked queries, ``shannon`` the
            flattest ones.
        source: the map that is measured: ``window``, raw dot products with zero padding (released code), or
            ``affinity``, the coarse affinity itself (paper).
        keep_ratio: part of the queries that is kept. A quantile ``q`` in its place would be ``1 - q``.
    """

    def __init__(
        self,
        loss: dict,
        weight: float = 1000.0,
        fine: str = 'res3',
        coarse: str = 'res4',
        pooling: Literal['avg', 'sum', 'logit'] = 'avg',
        detach: bool = True,
        selection: Literal['released', 'per_image', 'batch', 'soft'] | None = 'released',
        measure: Literal['neg_log_sum', 'shannon'] = 'neg_log_sum',
        source: Literal['window', 'affinity'] = 'window',
        keep_ratio: float = 0.7,
    ) -> None:
        super().__init__()
        check_choice('pooling', pooling, ('avg', 'sum', 'logit'))
        check_choice('selection', selection, (*KEEP, 'soft', None))
        check_choice('measure', measure, ('neg_log_sum', 'shannon'))
        check_choice('source', source, ('window', 'affinity'))
        check_number('keep_ratio', keep_ratio, above=0, most=1)
        check_number('weight', weight, 0)
        self.loss_fn = MODELS.build(loss)
        self.weight = weight
        self.fine = fine
        self.coarse = coarse
        self.pooling = pooling
        self.detach = detach
        self.selection = selection
        self.measure = measure
        self.source = source
        self.keep_ratio = keep_ratio

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages whose affinity is needed."""
        return self.fine, self.coarse

    def pseudo_label(
        self, queries: dict[str, Tensor], keys: dict[str, Tensor], affinities: dict[str, Tensor], scale: float
    ) -> Tensor:
        """The fine affinity on the coarse grid, ``[B, Q, K]``."""
        query, key = queries[self.fine], keys[self.fine]
        if query.shape[-2:] == queries[self.coarse].shape[-2:]:
            return affinities[self.fine]
        if self.pooling == 'logit':
            # The mean of dot products over 2 x 2 queries and 2 x 2 keys is the dot product of the pooled features.
            window = round(affinities[self.coarse].shape[-1] ** 0.5)
            return local_affinity(F.avg_pool2d(query, 2), F.avg_pool2d(key, 2), window // 2, scale)
        return pool_local_affinity(affinities[self.fine], query.shape[-2:], keep_mass=self.pooling == 'sum')

    def select(self, query: Tensor, key: Tensor, affinity: Tensor) -> Tensor | None:
        """Weight of each coarse query, ``[B, Q]`` in [0, 1]; ``None`` if all count alike.

        Args:
            query: ``[B, C, H, W]``, coarse features of the target.
            key: ``[B, C, H, W]``, coarse features of the reference.
            affinity: ``[B, H * W, (2r + 1) ** 2]``, the coarse affinity.
        """
        if self.selection is None:
            return None
        tensors = (tensor.detach() for tensor in (query, key, affinity))
        return select_queries(*tensors, self.selection, self.measure, self.source, self.keep_ratio)

    def loss(
        self, queries: dict[str, Tensor], keys: dict[str, Tensor], affinities: dict[str, Tensor], scale: float
    ) -> dict[str, Tensor]:
        """Distillation loss.

        Args:
            queries: stage to target features ``[B, C, H, W]``.
            keys: stage to reference features ``[B, C, H, W]``.
            affinities: stage to local affinity ``[B, H * W, (2r + 1) ** 2]``.
            scale: factor on the fine stage's dot products.

        Returns:
            ``loss_local`` and, when queries are selected, ``kept_ratio``.

        Raises:
            ValueError: if the pooled fine window differs from the coarse one.
        """
        target = self.pseudo_label(queries, keys, affinities, scale)
        coarse = affinities[self.coarse]
        if target.shape != coarse.shape:
            raise InputError(
                f'The affinity of {self.fine}, pooled, is {tuple(target.shape)}, that of {self.coarse} '
                f'{tuple(coarse.shape)}. The radii must be in the ratio of the grids: where that of {self.fine} has '
                f'twice the cells of {self.coarse}, its radius is twice as large; on equal grids, as at stride 4, set '
                f'model.radii.{self.coarse} to that of {self.fine}.'
            )
        if self.detach:
            target = target.detach()
        weight = self.select(queries[self.coarse], keys[self.coarse], coarse)
        losses = {'loss_local': self.weight * self.loss_fn(coarse, target, weight)}
        if weight is not None:
            losses['kept_ratio'] = weight.float().mean()
        return losses
