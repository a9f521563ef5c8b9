"""Learning without forgetting: the old task's answers on new data are kept."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from stt_mm.models.batch_statistics import BatchStatistics
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number
from stt_mm.utils.checkpoint import CheckpointError, read_checkpoint
from stt_mm.utils.weights import check_finite, load_backbone


class _OldTask(nn.Module):
    """Encoder, projection head and queue of stage 1, as they were at its end."""

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.register_buffer('queue', torch.empty(0))
        self.eval().requires_grad_(False)


@MODELS.register_module()
class LwFPenalty(BaseModule):
    """Keep what the projection head of stage 1 says about the frames of the videos. **A reconstruction.**

    An earlier version of the STT paper has a row with learning without forgetting, "modified for self-supervised
    learning", without any detail. This is what such a modification may be: where the original compares the outputs of
    the old classifier, contrastive learning has the similarities of an embedding to the queue of negative keys. The
    frozen encoder of stage 1 and the student look at the same RGB frames; both features pass the frozen head, and ::

        loss = weight * mean over frames of sum_k -p_old(k) log p_new(k),
        p = softmax_k( z . queue_k / (logit_temperature * temperature) )

    with embeddings z of length 1. The queue is that of the end of stage 1 and does not move. The cross-entropy is
    smallest, and its gradient 0, where both distributions agree; its smallest value is the entropy of ``p_old`` times
    the weight. The temperature 2 and the weight 1 are those of LwF, all else is our choice.

    The student sees RGB here and Lab elsewhere: this pass leaves its running BatchNorm statistics as they are.
    Frozen parts are neither in ``parameters()`` nor in ``state_dict()``, they come from the file at every start.

    Args:
        checkpoint: full checkpoint of stage 1, with encoder, projection head and, for ``distribution``, queue.
        backbone: config of the frozen encoder; its last map goes to the head.
        neck: config of the projection head, such as mmpretrain's ``MoCoV2Neck``.
        weight: factor on the loss, 0 or larger.
        temperature: LwF's, which makes both distributions flatter.
        logit_temperature: that of the contrastive loss of stage 1.
        distance: ``distribution`` as above; ``embedding`` is the squared distance of the two embeddings instead.
        stage: stage of the student that goes to the head.
        neck_prefix: what stands before the names of the head in the checkpoint; ``neck.global_mlps.3.`` for DetCo.
        queue_name: name of the queue in it; ``queues.global_res5.queue`` for DetCo.

    Raises:
        ValueError: if a temperature is not positive or the weight negative.
    """

    def __init__(
        self,
        checkpoint: str,
        backbone: dict,
        neck: dict,
        weight: float = 1.0,
        temperature: float = 2.0,
        logit_temperature: float = 0.2,
        distance: Literal['distribution', 'embedding'] = 'distribution',
        stage: str = 'res5',
        neck_prefix: str = 'neck.',
        queue_name: str = 'queue',
    ) -> None:
        super().__init__()
        check_choice('distance', distance, ('distribution', 'embedding'))
        check_number('LwFPenalty: weight', weight, 0)
        for name, value in (('temperature', temperature), ('logit_temperature', logit_temperature)):
            check_number(f'LwFPenalty: {name}', value, above=0)
        self.checkpoint = checkpoint
        self.weight = weight
        self.sharpness = 1 / (temperature * logit_temperature)
        self.distance = distance
        self.stages = (stage,)
        self.neck_prefix = neck_prefix
        self.queue_name = queue_name
        # As the teacher, out of reach of optimizers, checkpoints and train(); the tuple hides it from the module tree.
        self._old = (_OldTask(MODELS.build(backbone), MODELS.build(neck)),)
        self._read = False

    @property
    def old(self) -> _OldTask:
        """The frozen parts."""
        return self._old[0]

    @property
    def reference(self) -> dict[str, Tensor]:
        """Weights of the frozen encoder, by name."""
        return dict(self.old.backbone.named_parameters())

    def _apply(self, fn: Callable, recurse: bool = True) -> 'LwFPenalty':
        self.old._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def init_weights(self) -> None:
        """Read encoder and head, and the queue if the distance is that of distributions.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if something is missing in it or has another shape.
        """
        load_backbone(self.old.backbone, self.checkpoint)
        content = read_checkpoint(self.checkpoint)
        weights = content.get('state_dict', content)
        head = {
            name.removeprefix(self.neck_prefix): value
            for name, value in weights.items()
            if name.startswith(self.neck_prefix)
        }
        wanted = {name: tuple(value.shape) for name, value in self.old.neck.state_dict().items()}
        missing = [
            f'{self.neck_prefix}{name}'
            for name, shape in wanted.items()
            if name not in head or tuple(head[name].shape) != shape
        ]
        with_queue = self.distance == 'distribution'
        if with_queue and self.queue_name not in weights:
            missing.append(self.queue_name)
        if missing:
            raise CheckpointError(
                f'{self.checkpoint} lacks {", ".join(missing)}, or they have another shape. LwF '
                'needs the full checkpoint of stage 1, as training wrote it, and neck_prefix and '
                'queue_name as they stand in it.'
            )
        used = [f'{self.neck_prefix}{name}' for name in wanted] + [self.queue_name] * with_queue
        check_finite({name: weights[name] for name in used}, self.checkpoint, 'Take an earlier file of that training.')
        self.old.neck.load_state_dict({name: head[name] for name in wanted})
        if with_queue:
            self.old.queue = weights[self.queue_name].float().to(next(self.old.parameters()).device)
        self._read = True

    def loss(self, backbone: nn.Module, frames: Tensor) -> dict[str, Tensor]:
        """``loss_lwf``, and ``lwf_entropy``, that of the old answers; the loss cannot go below it times all factors.

        The entropy is only logged and has no factor, neither the weight nor the gamma of ``Joint``. For embeddings it
        is 0.

        Args:
            backbone: the student; returns the stage of the head among its ``stages``.
            frames: ``[B, 3, H, W]``, normalised as in stage 1.

        Raises:
            RuntimeError: if the checkpoint has not been read.
        """
        if not self._read:
            raise RuntimeError(f'LwFPenalty has not read {self.checkpoint}: call init_weights() of the model first.')
        with torch.no_grad():
            old = self.old.neck(self.old.backbone(frames)[-1:])[0]
        with BatchStatistics(backbone).used_by(backbone):
            maps = dict(zip(backbone.stages, backbone(frames), strict=True))
        new = self.old.neck((maps[self.stages[0]],))[0]
        with torch.autocast(frames.device.type, enabled=False):
            return self.compare(F.normalize(new.float(), dim=1), F.normalize(old.float(), dim=1))

    def compare(self, new: Tensor, old: Tensor) -> dict[str, Tensor]:
        """What :meth:`loss` returns, from embeddings ``[B, D]`` of length 1."""
        if self.distance == 'embedding':
            distance = (new - old).square().sum(1).mean()
            return dict(loss_lwf=self.weight * distance, lwf_entropy=torch.zeros_like(distance))
        target = (self.sharpness * old @ self.old.queue).log_softmax(1)
        logits = (self.sharpness * new @ self.old.queue).log_softmax(1)
        crossed, entropy = (-(target.exp() * values).sum(1).mean() for values in (logits, target))
        return dict(loss_lwf=self.weight * crossed, lwf_entropy=entropy)
