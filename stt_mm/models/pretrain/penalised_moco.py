"""MoCo that is held to what its backbone has learned before."""

from mmpretrain.models.selfsup import MoCo
from torch import Tensor

from stt_mm.errors import library_errors
from stt_mm.models.penalties import build_penalty, check_start
from stt_mm.registry import MODELS


@MODELS.register_module()
class PenalisedMoCo(MoCo):
    """mmpretrain's MoCo with one more loss on its backbone: for stage 1 after a temporal stage.

    Names in checkpoints are those of MoCo.

    Args:
        backbone: config of the network.
        neck: config of the projection head.
        head: config of the contrastive loss.
        penalty: config of the penalty, such as :class:`EWCPenalty`; ``None``: plain MoCo.
        queue_len: negative keys in the queue.
        feat_dim: length of an embedding.
        momentum: share of the query encoder in each update of the key encoder.
        data_preprocessor: config of the normalisation.
        init_cfg: initialisation of the whole model.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        penalty: dict | None = None,
        queue_len: int = 65536,
        feat_dim: int = 128,
        momentum: float = 0.001,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        with library_errors('PenalisedMoCo cannot be built'):
            super().__init__(
                backbone=backbone,
                neck=neck,
                head=head,
                queue_len=queue_len,
                feat_dim=feat_dim,
                momentum=momentum,
                data_preprocessor=data_preprocessor,
                init_cfg=init_cfg,
            )
        self.penalty = build_penalty(penalty, self.backbone)

    def init_weights(self) -> None:
        """Initialise all parts; warns of a backbone that does not start where its penalty holds it."""
        super().init_weights()
        if self.penalty is not None:
            check_start(self.backbone, self.penalty)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """``loss_moco`` and that of the penalty; MMEngine's log calls their sum ``loss``.

        Args:
            inputs: two views ``[B, 3, H, W]``; the first is the query.
            data_samples: not used.
        """
        losses = {f'{name}_moco': value for name, value in super().loss(inputs, data_samples).items()}
        if self.penalty is not None:
            losses |= self.penalty.loss(self.backbone, inputs[0])
        return losses
