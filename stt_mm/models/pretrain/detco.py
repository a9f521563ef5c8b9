"""DetCo: momentum contrast of images and of sets of patches, at every stage of the backbone (Xie et al., ICCV 2021)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.models.utils import batch_shuffle_ddp, batch_unshuffle_ddp
from torch import Tensor, nn

from stt_mm.errors import InputError, library_errors
from stt_mm.models.memory_bank import MemoryBank
from stt_mm.models.penalties import build_penalty, check_start
from stt_mm.ops import early_gradient, split_mosaic
from stt_mm.registry import MODELS

# Kind of view that gives the query, and the one that gives the positive key and the negatives.
TERMS = dict(gg=('global', 'global'), ll=('local', 'local'), gl=('local', 'global'))


@MODELS.register_module()
class DetCo(BaseSelfSupervisor):
    """Three contrastive losses at each stage: image and image, patches and patches, patches and image.

    Each image comes as two global views and two local ones, mosaics of shuffled patches (``JigsawMosaic``). All go
    through one backbone; each stage has an MLP for images and one for sets of patches, and a queue of past keys for
    both. The key encoder is a moving average of the backbone and all MLPs. With ``w`` the weight of a stage::

        loss = sum over stages of w * (L(global, global) + L(local, local) + L(local, global))

    where ``L(q, k)`` is MoCo's cross-entropy of the positive key against the queue of the kind of ``k``. With equal
    logits, K = 65536 and the default weights this is 3 * 2.2 * ln(65537) = 73.196.

    The code behind the paper is not public. Views, heads, queues and losses are those of two unofficial
    implementations, which agree on the direction of the third loss (the local view asks, the global one answers) and
    on its negatives (the queue of the global keys). The weights of the stages are those that one of them quotes as the
    paper's; the other has (0.2, 0.5, 0.8, 1) / 2.5 on the mean of the three losses. Ours, since neither states them:
    the hidden widths (see :class:`DetCoNeck`); that an image's mosaic stays whole when the batch is shuffled between
    processes; that losses are computed in float32 under mixed precision; what ``normalize`` divides by; and the
    learning rate of the configs.

    Args:
        backbone: config of a network that returns all stages that are trained, such as mmpretrain's ResNet with
            ``out_indices=(0, 1, 2, 3)``.
        neck: config of the projection heads, a :class:`DetCoNeck`.
        head: config of the loss of a query, mmpretrain's ``ContrastiveHead``.
        queue_len: keys in each queue. One for global and one for local keys at each stage, 8 in all: 256 MiB.
        momentum: weight of the query encoder in each update of the key encoder, 0.001 for MoCo's "0.999". The first
            update copies.
        stage_weights: weight of each stage, lowest first.
        normalize: divide by 3 times the sum of the weights, so that the loss is an average of the 12 terms. It is 6.6
            times smaller then, and the learning rate has to be chosen anew.
        penalty: config of what holds the backbone to an earlier task, such as :class:`EWCPenalty`; ``None``: nothing.
        data_preprocessor: config of the normalisation; ``None``: mmpretrain's ``SelfSupDataPreprocessor``, without one.
        init_cfg: initialisation of the whole model; the backbone has its own.

    Raises:
        ValueError: if backbone, neck and weights do not have the same number of stages.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        queue_len: int = 65536,
        momentum: float = 0.001,
        stage_weights: Sequence[float] = (0.1, 0.4, 0.7, 1.0),
        normalize: bool = False,
        penalty: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        with library_errors('DetCo cannot be built'):
            super().__init__(
                backbone=backbone,
                neck=neck,
                head=head,
                init_cfg=init_cfg,
                data_preprocessor=data_preprocessor
                or dict(type='mmpretrain.SelfSupDataPreprocessor', non_blocking=True),
            )
        self.stages = tuple(f'res{index + 2}' for index in self.backbone.out_indices)
        numbers = dict(backbone=len(self.stages), neck=len(self.neck.in_channels), stage_weights=len(stage_weights))
        if len(set(numbers.values())) > 1:
            raise InputError(
                f'DetCo needs the same number of stages everywhere, got {numbers}. Set '
                'model.backbone.out_indices, model.neck.in_channels and model.stage_weights alike.'
            )
        total = len(TERMS) * sum(stage_weights) if normalize else 1.0
        self.stage_weights = tuple(weight / total for weight in stage_weights)
        self.encoder_k = ExponentialMovingAverage(nn.Sequential(self.backbone, self.neck), momentum)
        self.queues = nn.ModuleDict(
            {
                f'{kind}_{stage}': MemoryBank(queue_len, self.neck.out_channels)
                for kind in ('global', 'local')
                for stage in self.stages
            }
        )
        self.penalty = build_penalty(penalty, self.backbone)

    def init_weights(self) -> None:
        """Initialise all parts; warns of a backbone that does not start where its penalty holds it."""
        super().init_weights()
        if self.penalty is not None:
            check_start(self.backbone, self.penalty)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Losses of a batch, weights applied; the keys are put into the queues.

        Args:
            inputs: two global views ``[B, 3, H, W]`` and two mosaics ``[B, 3, 3 h, 3 w]``; the first of each kind are
                the queries.
            data_samples: not used.

        Returns:
            ``loss_gg_res2``, ``loss_ll_res2``, ``loss_gl_res2``, ``loss_gg_res3``, ...: 12 entries, and those of the
            penalty.

        Raises:
            ValueError: if there are not four views.
        """
        if not isinstance(inputs, list) or len(inputs) != 4:
            got = f'{len(inputs)}' if isinstance(inputs, list) else type(inputs).__name__
            raise InputError(
                f'DetCo expects a list of four views, two global and two local ones, got {got}. Use '
                "dict(type='MultiView', num_views=[2, 2], transforms=[global, local]) in the pipeline."
            )
        keys = self.keys(dict(zip(('global', 'local'), inputs[1::2], strict=True)))
        queries = {
            kind: self.embed(self.backbone, self.neck, view, kind)
            for kind, view in zip(('global', 'local'), inputs[::2], strict=True)
        }
        with torch.autocast(inputs[0].device.type, enabled=False):
            losses = self.losses(queries, keys)
        if self.penalty is not None:
            losses |= self.penalty.loss(self.backbone, inputs[0])
        return losses

    def embed(self, backbone: nn.Module, neck: nn.Module, view: Tensor, kind: str) -> Tensor:
        """Embeddings of length 1, float32 ``[B, S, D]``, of images or, if ``kind`` is ``local``, of mosaics."""
        if kind == 'local':
            try:
                patches = split_mosaic(view, neck.grid)
            except ValueError as error:
                raise InputError(str(error)) from error
            found = neck.project_local(backbone(patches))
        else:
            found = neck.project_global(backbone(view))
        return F.normalize(found.float(), dim=-1)

    @torch.no_grad()
    def keys(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move the key encoder, and embed the key views with it.

        The images are shuffled over all processes before and put back after the encoder, so that BatchNorm cannot give
        a query away to its key. A mosaic moves as a whole.

        Args:
            views: kind (``global``, ``local``) to ``[B, 3, H, W]`` of this process.

        Returns:
            kind to ``[B, S, D]``, in the order of ``views``.
        """
        self.encoder_k.update_parameters(nn.Sequential(self.backbone, self.neck))
        keys = {}
        for kind, view in views.items():
            shuffled, back = batch_shuffle_ddp(view)
            keys[kind] = batch_unshuffle_ddp(self.embed(*self.encoder_k.module, shuffled, kind), back)
        return keys

    def losses(self, queries: dict[str, Tensor], keys: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of embeddings ``[B, S, D]`` by kind; afterwards the keys are in the queues.

        The gradient of each term is taken at once: the queues may change before the backward pass without a copy of
        them, and the logits of only one term exist at a time.
        """
        losses = {}
        for index, (stage, weight) in enumerate(zip(self.stages, self.stage_weights, strict=True)):
            for term, (asks, answers) in TERMS.items():
                key, bank = keys[answers][:, index], self.queues[f'{answers}_{stage}']

                def loss(query: Tensor, key: Tensor = key, bank: MemoryBank = bank, weight: float = weight) -> Tensor:
                    return weight * self.head.loss((query * key).sum(1, keepdim=True), query @ bank.queue)

                losses[f'loss_{term}_{stage}'] = early_gradient(loss, queries[asks][:, index])
            for kind, found in keys.items():
                self.queues[f'{kind}_{stage}'].enqueue(found[:, index])
        return losses
