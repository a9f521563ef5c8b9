"""Spatial-then-Temporal learning, temporal stage (CVPR 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.models.correspondence.base import Correspondence
from stt_mm.models.penalties import build_penalty, check_start
from stt_mm.ops import local_affinity
from stt_mm.registry import MODELS
from stt_mm.utils import check_number

# A window of this half width has more cells than any frame on which training is possible.
LARGEST_RADIUS = 256


@MODELS.register_module()
class STT(Correspondence):
    """Learn from pairs of adjacent frames: the target frame is rebuilt from the reference frame.

    The clip's first frame is the reference (key), its last the target (query). Every objective is a head and may be
    ``None``; local affinities are computed once per stage and shared by the heads.

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
    ) -> None:
        super().__init__(backbone, data_preprocessor, propagator, feature_stage, init_cfg)
        self.radii = dict(radii)
        self.temperature = temperature
        self.normalize = normalize
        self.reconstruction_head = None if reconstruction_head is None else MODELS.build(reconstruction_head)
        self.local_head = None if local_head is None else MODELS.build(local_head)
        self.global_head = None if global_head is None else MODELS.build(global_head)
        self.teacher = None if global_head is None or teacher is None else MODELS.build(teacher)
        self.penalty = build_penalty(penalty, self.backbone)
        self._check()
        self.backbone.keep_stages(self.used_stages())

    def used_stages(self) -> set[str]:
        """Stages that a head, the penalty or the evaluation needs."""
        heads = (head for head in (self.reconstruction_head, self.local_head) if head is not None)
        used = {stage for head in heads for stage in head.stages}
        if self.global_head is not None:
            used.add(self.global_head.stage)
        if self.penalty is not None:
            used.update(self.penalty.stages)
        if self.propagator is not None or not used:
            used.add(self.feature_stage)
        return used

    def _check(self) -> None:
        if self.global_head is not None and self.teacher is None:
            raise InputError('global_head needs a teacher: set model.teacher, or model.global_head=None.')
        if self.temperature is not None:
            check_number('temperature', self.temperature, above=0)
        for stage, radius in self.radii.items():
            check_number(f'radii[{stage!r}]', radius, 1, LARGEST_RADIUS)
            if radius != int(radius):
                raise InputError(f'radii[{stage!r}] must be a whole number of cells, got {radius}.')
            self.radii[stage] = int(radius)
        for head in (self.reconstruction_head, self.local_head):
            for stage in () if head is None else head.stages:
                if stage not in self.backbone.stages or stage not in self.radii:
                    raise InputError(
                        f'{type(head).__name__} needs {stage}, but the backbone returns '
                        f'{", ".join(self.backbone.stages)} and radii has {", ".join(self.radii)}.'
                    )
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

    def scale(self, feature: Tensor) -> float:
        """Factor on the dot products of features ``[B, C, H, W]``."""
        return 1 / (feature.shape[1] ** 0.5 if self.temperature is None else self.temperature)

    def local_affinities(self, queries: dict[str, Tensor], keys: dict[str, Tensor]) -> dict[str, Tensor]:
        """Local affinity ``[B, H * W, (2r + 1) ** 2]`` of every stage that a head uses."""
        heads = (head for head in (self.reconstruction_head, self.local_head) if head is not None)
        stages = dict.fromkeys(stage for head in heads for stage in head.stages)
        affinities = {}
        for stage in stages:
            query, key = queries[stage], keys[stage]
            if self.normalize:
                query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
            affinities[stage] = local_affinity(query, key, self.radii[stage], self.scale(query))
        return affinities

    def loss(self, inputs: dict, data_samples: list | None = None) -> dict[str, Tensor]:
        """Losses of a batch of clips.

        Args:
            inputs: of :class:`ClipDataPreprocessor`: ``frames``, ``student`` and ``teacher`` ``[B, T, 3, H, W]``,
                ``dropped`` ``[D]`` or ``[B, D]``.
            data_samples: not used.

        Returns:
            One entry per term, weights applied; entries without ``loss`` in their name are only logged.

        Raises:
            ValueError: for clips of one frame, or frames that do not fit a stride.
        """
        frames, student = inputs['frames'], inputs['student']
        if frames.shape[1] < 2:
            raise InputError(
                'A pair of frames needs clips of 2 frames or more, got 1. Raise clip_length of the dataset.'
            )
        features = self.extract_feat(torch.cat([student[:, 0], student[:, -1]]))
        halves = {stage: feature.float().chunk(2) for stage, feature in features.items()}
        keys, queries = ({stage: half[side] for stage, half in halves.items()} for side in (0, 1))
        shown, teacher = inputs['teacher'], None
        if self.teacher is not None:
            teacher = self.teacher(torch.cat([shown[:, 0], shown[:, -1]])).float().chunk(2)
        with torch.autocast(frames.device.type, enabled=False):
            losses = self.head_losses(queries, keys, frames[:, 0], frames[:, -1], inputs['dropped'], teacher)
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
    ) -> dict[str, Tensor]:
        """Losses from features.

        Args:
            queries: stage to student features ``[B, C, H, W]`` of the target.
            keys: stage to student features of the reference.
            reference: ``[B, 3, H, W]``, undropped frame.
            target: ``[B, 3, H, W]``, undropped frame.
            dropped: int64 ``[D]`` or ``[B, D]``, channels that the student did not see.
            teacher: features ``[B, D, h, w]`` of (reference, target).
        """
        affinities = self.local_affinities(queries, keys)
        losses = {}
        if self.reconstruction_head is not None:
            grids = {stage: tuple(feature.shape[-2:]) for stage, feature in queries.items()}
            losses.update(self.reconstruction_head.loss(affinities, reference, target, grids, dropped))
        if self.local_head is not None:
            losses.update(self.local_head.loss(queries, keys, affinities, self.scale(queries[self.local_head.fine])))
        if self.global_head is not None:
            stage = self.global_head.stage
            losses.update(self.global_head.loss(queries[stage], keys[stage], teacher[1], teacher[0]))
        return losses
