"""Spatial-then-Temporal learning, temporal stage (CVPR 2023)."""

from typing import Literal

import torch
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.models.correspondence.pair import PairReconstruction
from stt_mm.models.penalties import build_penalty, check_start
from stt_mm.models.video_negatives import Drawn
from stt_mm.registry import MODELS


@MODELS.register_module()
class STT(PairReconstruction):
    """Learn from pairs of adjacent frames, what a coarse stage finds held to a fine one, and to a frozen teacher.

    The target frame is rebuilt from the reference frame as in :class:`PairReconstruction`. Every objective is a head
    and may be ``None``; local affinities are computed once per stage and shared by the heads.

    Args:
        backbone: config of the student. Stages that no head uses are neither run nor trained.
        data_preprocessor: config of colour conversion and channel dropout.
        radii: half width of the local window per stage, in cells, such as ``dict(res3=12, res4=6)``.
        reconstruction_head: config of pyramid frame reconstruction.
        local_head: config of local correlation distillation; like the other heads it names the stages it needs
            (``stages``), and by ``fine`` the one whose scale it is given.
        global_head: config of global correlation distillation; needs a teacher.
        teacher: config of the frozen teacher; it is not built without a ``global_head``.
        penalty: config of what holds the student to an earlier task, :class:`EWCPenalty` or :class:`LwFPenalty`; it
            names the stages it needs (``stages``) and the weights it holds to (``reference``), and sees the
            teacher's colours.
        temperature: divides the dot products of the local affinities; ``None``: ``sqrt(C)``.
        normalize: use cosines in the local affinities.
        propagator: config of the label propagation that evaluates the student.
        feature_stage: stage that is evaluated.
        init_cfg: initialisation of the whole model.
        compactness_head, negatives, border, encoding: parts of LIIR and MAST, see :class:`PairReconstruction`.

    Raises:
        ValueError: if a head needs a stage that has no radius or that the backbone does not return, or the teacher.
    """

    def __init__(
        self,
        backbone: dict,
        data_preprocessor: dict,
        radii: dict[str, int],
        reconstruction_head: dict | None = None,
        local_head: dict | None = None,
        global_head: dict | None = None,
        teacher: dict | None = None,
        penalty: dict | None = None,
        temperature: float | None = None,
        normalize: bool = False,
        propagator: dict | None = None,
        feature_stage: str | None = 'res4',
        init_cfg: dict | list | None = None,
        compactness_head: dict | None = None,
        negatives: dict | None = None,
        border: Literal['excluded', 'zero'] = 'excluded',
        encoding: Literal['joint', 'separate'] = 'joint',
    ) -> None:
        self._added = dict(local_head=local_head, global_head=global_head, teacher=teacher, penalty=penalty)
        super().__init__(
            backbone,
            data_preprocessor,
            radii,
            reconstruction_head,
            compactness_head,
            negatives,
            border,
            encoding,
            temperature,
            normalize,
            propagator,
            feature_stage,
            init_cfg,
        )

    def _build(self) -> None:
        added = self.__dict__.pop('_added')
        if added['global_head'] is None:
            added['teacher'] = None
        self.penalty = build_penalty(added.pop('penalty'), self.backbone)
        for name, config in added.items():
            setattr(self, name, None if config is None else MODELS.build(config))

    def _heads(self) -> list:
        return [*super()._heads(), *([] if self.local_head is None else [self.local_head])]

    def _trained_stages(self) -> set[str]:
        used = super()._trained_stages()
        if self.global_head is not None:
            used.add(self.global_head.stage)
        if self.penalty is not None:
            used.update(self.penalty.stages)
        return used

    def _check(self) -> None:
        if self.global_head is not None and self.teacher is None:
            raise InputError('global_head needs a teacher: set model.teacher, or model.global_head=None.')
        super()._check()
        for stage in () if self.local_head is None else self.local_head.stages:
            if self.radii[stage] is None:
                raise InputError(f'local_head compares windows: set radii[{stage!r}] to a number of cells.')
        if self.global_head is not None and self.global_head.stage not in self.backbone.stages:
            raise InputError(
                f'global_head needs {self.global_head.stage}, but the backbone returns '
                f'{", ".join(self.backbone.stages)}.'
            )

    def init_weights(self) -> None:
        """Initialise all parts; warns of a student that does not start where its penalty holds it."""
        super().init_weights()
        if self.penalty is not None:
            check_start(self.backbone, self.penalty)

    def loss(self, inputs: dict, data_samples: list | None = None) -> dict[str, Tensor]:
        """Losses of a batch of clips.

        Args:
            inputs: of :class:`ClipDataPreprocessor`: ``frames``, ``student`` and ``teacher`` ``[B, T, 3, H, W]``,
                ``dropped`` ``[D]`` or ``[B, D]``; and ``negatives``, if there are any.
            data_samples: not used.

        Returns:
            One entry per term, weights applied; entries without ``loss`` in their name are only logged.

        Raises:
            ValueError: for clips of one frame, or frames that do not fit a stride.
        """
        frames, shown, teacher = inputs['frames'], inputs['teacher'], None
        queries, keys = self.encode(inputs['student'])
        if self.teacher is not None:
            teacher = self.teacher(torch.cat([shown[:, 0], shown[:, -1]])).float().chunk(2)
        with torch.autocast(frames.device.type, enabled=False):
            losses = self.head_losses(
                queries, keys, frames[:, 0], frames[:, -1], inputs['dropped'], teacher, inputs.get('negatives')
            )
        if self.penalty is not None:
            pair = torch.stack([shown[:, 0], shown[:, -1]], dim=1).flatten(0, 1)
            losses.update(self.penalty.loss(self.backbone, pair))
        return losses

    def head_losses(
        self,
        queries: dict[str, Tensor],
        keys: dict[str, Tensor],
        reference: Tensor,
        target: Tensor,
        dropped: Tensor,
        teacher: tuple[Tensor, Tensor] | None = None,
        negatives: Drawn | None = None,
    ) -> dict[str, Tensor]:
        """Losses from features.

        Args:
            queries: stage to student features ``[B, C, H, W]`` of the target.
            keys: stage to student features of the reference.
            reference: ``[B, 3, H, W]``, undropped frame.
            target: ``[B, 3, H, W]``, undropped frame.
            dropped: int64 ``[D]`` or ``[B, D]``, channels that the student did not see.
            teacher: features ``[B, D, h, w]`` of (reference, target).
            negatives: of :meth:`VideoNegatives.draw`.
        """
        losses, affinities = self.pair_losses(queries, keys, reference, target, dropped, negatives)
        if self.local_head is not None:
            losses.update(self.local_head.loss(queries, keys, affinities, self.scale(queries[self.local_head.fine])))
        if self.global_head is not None:
            stage = self.global_head.stage
            losses.update(self.global_head.loss(queries[stage], keys[stage], teacher[1], teacher[0]))
        return losses
