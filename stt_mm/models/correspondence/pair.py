"""What trains by rebuilding one frame of a pair from the other: MAST, LIIR, and what STT has in common with them."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.models.correspondence.base import Correspondence
from stt_mm.models.video_negatives import Drawn
from stt_mm.ops import local_affinity, to_device
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number

# A window of this half width has more cells than any frame on which training is possible.
LARGEST_RADIUS = 256


@MODELS.register_module()
class PairReconstruction(Correspondence):
    """Learn from pairs of frames of a video: the target frame is rebuilt from the reference frame.

    The clip's first frame is the reference (key), its last the target (query). Every objective is a head and may be
    ``None``; local affinities are computed once per stage and shared by the heads.

    Args:
        backbone: config of the network. Stages that no head uses are neither run nor trained.
        data_preprocessor: config of colour conversion and channel dropout.
        radii: half width of the local window per stage, in cells, such as ``dict(res3=12, res4=6)``; ``None``: the
            whole frame.
        reconstruction_head: config of the frame reconstruction.
        compactness_head: config of what pulls affinities together.
        negatives: config of points of other videos, which take a share of what rebuilds the frame,
            :class:`VideoNegatives`. Clips must tell the number of their video, as ``PackClip`` does.
        border: what cells of a window outside the frame are, see :func:`stt_mm.ops.local_affinity`.
        encoding: ``joint`` encodes both frames in one batch, over which BatchNorm takes its statistics; ``separate``
            the reference first and the target after it.
        temperature: divides the dot products of the local affinities; ``None``: ``sqrt(C)``.
        normalize: use cosines in the local affinities.
        propagator: config of the label propagation that evaluates the network.
        feature_stage: stage that is evaluated.
        init_cfg: initialisation of the whole model.

    Raises:
        ValueError: if a head needs a stage that has no radius or that the backbone does not return.
    """

    def __init__(
        self,
        backbone: dict,
        data_preprocessor: dict,
        radii: dict[str, int | None],
        reconstruction_head: dict | None = None,
        compactness_head: dict | None = None,
        negatives: dict | None = None,
        border: Literal['excluded', 'zero'] = 'excluded',
        encoding: Literal['joint', 'separate'] = 'joint',
        temperature: float | None = None,
        normalize: bool = False,
        propagator: dict | None = None,
        feature_stage: str | None = 'res4',
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, propagator, feature_stage, init_cfg)
        check_choice('border', border, ('excluded', 'zero'))
        check_choice('encoding', encoding, ('joint', 'separate'))
        self.radii = dict(radii)
        self.border = border
        self.encoding = encoding
        self.temperature = temperature
        self.normalize = normalize
        self.reconstruction_head = None if reconstruction_head is None else MODELS.build(reconstruction_head)
        self.compactness_head = None if compactness_head is None else MODELS.build(compactness_head)
        self.negatives = None if negatives is None else MODELS.build(negatives)
        self._build()
        self._check()
        self.backbone.keep_stages(self.used_stages())
        if self.negatives is not None:
            self.negatives.follow(self.backbone)

    def _build(self) -> None:
        """Build what a subclass adds, before it is known which stages are used."""

    def _heads(self) -> list:
        """Heads that use local affinities."""
        return [head for head in (self.reconstruction_head, self.compactness_head) if head is not None]

    def _trained_stages(self) -> set[str]:
        return {stage for head in self._heads() for stage in head.stages}

    def used_stages(self) -> set[str]:
        """Stages that a part of the training or the evaluation needs."""
        used = self._trained_stages()
        if self.propagator is not None or not used:
            used.add(self.feature_stage)
        return used

    def _check(self) -> None:
        if self.temperature is not None:
            check_number('temperature', self.temperature, above=0)
        for stage, radius in self.radii.items():
            if radius is None:
                continue
            check_number(f'radii[{stage!r}]', radius, 1, LARGEST_RADIUS)
            if radius != int(radius):
                raise InputError(f'radii[{stage!r}] must be a whole number of cells, got {radius}.')
            self.radii[stage] = int(radius)
        for head in self._heads():
            for stage in head.stages:
                if stage not in self.backbone.stages or stage not in self.radii:
                    raise InputError(
                        f'{type(head).__name__} needs {stage}, but the backbone returns '
                        f'{", ".join(self.backbone.stages)} and radii has {", ".join(self.radii)}.'
                    )
        rebuilt = () if self.reconstruction_head is None else self.reconstruction_head.stages
        if self.negatives is not None and self.negatives.stage not in rebuilt:
            raise InputError(
                f'negatives take a share of what rebuilds the frame at {self.negatives.stage}, which is no stage of '
                f'the reconstruction_head ({", ".join(rebuilt) or "there is none"}). Set model.negatives.stage.'
            )

    def scale(self, feature: Tensor) -> float:
        """Factor on the dot products of features ``[B, C, H, W]``."""
        return 1 / (feature.shape[1] ** 0.5 if self.temperature is None else self.temperature)

    def forward(
        self, inputs: dict | list, data_samples: list | None = None, mode: str = 'tensor'
    ) -> dict | list | Tensor:
        """As in :class:`Correspondence`; in training, negatives are drawn and those of later steps remembered before.

        The bank is read before it is written, and both happen while there are no activations of the loss yet.
        """
        if mode != 'loss' or self.negatives is None:
            return super().forward(inputs, data_samples, mode)
        videos = to_device(_video_numbers(data_samples), inputs['student'].device)
        drawn = self.negatives.draw(videos)
        self.negatives.remember(self.backbone, inputs['student'][:, 0], videos)
        return self.loss(dict(inputs, negatives=drawn), data_samples)

    def loss(self, inputs: dict, data_samples: list | None = None) -> dict[str, Tensor]:
        """Losses of a batch of clips.

        Args:
            inputs: of :class:`ClipDataPreprocessor`: ``frames`` and ``student`` ``[B, T, 3, H, W]``, ``dropped``
                ``[D]`` or ``[B, D]``; and ``negatives``, if there are any.
            data_samples: not used.

        Returns:
            One entry per term, weights applied; entries without ``loss`` in their name are only logged.

        Raises:
            ValueError: for clips of one frame, or frames that do not fit a stride.
        """
        frames = inputs['frames']
        queries, keys = self.encode(inputs['student'])
        with torch.autocast(frames.device.type, enabled=False):
            return self.head_losses(
                queries, keys, frames[:, 0], frames[:, -1], inputs['dropped'], inputs.get('negatives')
            )

    def encode(self, clips: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """float32 features of the targets and of the references, by stage, from clips ``[B, T, 3, H, W]``."""
        if clips.shape[1] < 2:
            raise InputError(
                'A pair of frames needs clips of 2 frames or more, got 1. Raise clip_length of the dataset.'
            )
        if self.encoding == 'separate':
            keys, queries = (self.extract_feat(clips[:, side]) for side in (0, -1))
            return tuple({stage: feature.float() for stage, feature in part.items()} for part in (queries, keys))
        features = self.extract_feat(torch.cat([clips[:, 0], clips[:, -1]]))
        halves = {stage: feature.float().chunk(2) for stage, feature in features.items()}
        return tuple({stage: half[side] for stage, half in halves.items()} for side in (1, 0))

    def local_affinities(self, queries: dict[str, Tensor], keys: dict[str, Tensor]) -> dict[str, Tensor]:
        """Local affinity ``[B, H * W, K]`` of every stage that a head uses."""
        return {stage: affinity for stage, (affinity, _) in self._matches(queries, keys).items()}

    def _matches(self, queries: dict[str, Tensor], keys: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor | None]]:
        """The affinities, and the log-sum-exp of the stage that has negatives."""
        matches = {}
        for stage in dict.fromkeys(stage for head in self._heads() for stage in head.stages):
            query, key = queries[stage], keys[stage]
            if self.normalize:
                query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
            with_lse = self.negatives is not None and self.negatives.stage == stage
            found = local_affinity(query, key, self.radii[stage], self.scale(query), self.border, with_lse)
            matches[stage] = found if with_lse else (found, None)
        return matches

    def _gate(self, query: Tensor, lse: Tensor, negatives: Drawn) -> Tensor:
        """Share ``[B, H * W]`` that the reference frame keeps beside the negatives."""
        if self.normalize:
            query = F.normalize(query, dim=1)
            negatives = negatives._replace(points=F.normalize(negatives.points, dim=1))
        return (lse - self.negatives.log_mass(query, negatives, self.scale(query))).sigmoid()

    def pair_losses(
        self,
        queries: dict[str, Tensor],
        keys: dict[str, Tensor],
        reference: Tensor,
        target: Tensor,
        dropped: Tensor,
        negatives: Drawn | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of reconstruction and compactness, and the affinities of all heads; arguments as below."""
        matches = self._matches(queries, keys)
        affinities = {stage: affinity for stage, (affinity, _) in matches.items()}
        grids = {stage: tuple(feature.shape[-2:]) for stage, feature in queries.items()}
        losses, gates = {}, {}
        if negatives is not None:
            stage = self.negatives.stage
            gates[stage] = self._gate(queries[stage], matches[stage][1], negatives)
            losses['gate'] = gates[stage].detach().mean()
        if self.reconstruction_head is not None:
            whole = [stage for stage, radius in self.radii.items() if radius is None]
            losses.update(self.reconstruction_head.loss(affinities, reference, target, grids, dropped, gates, whole))
        if self.compactness_head is not None:
            for stage in self.compactness_head.stages:
                losses.update(
                    self.compactness_head.loss(affinities[stage], grids[stage], self.radii[stage], self.border)
                )
        return losses, affinities

    def head_losses(
        self,
        queries: dict[str, Tensor],
        keys: dict[str, Tensor],
        reference: Tensor,
        target: Tensor,
        dropped: Tensor,
        negatives: Drawn | None = None,
    ) -> dict[str, Tensor]:
        """Losses from features.

        Args:
            queries: stage to features ``[B, C, H, W]`` of the target.
            keys: stage to features of the reference.
            reference: ``[B, 3, H, W]``, undropped frame.
            target: ``[B, 3, H, W]``, undropped frame.
            dropped: int64 ``[D]`` or ``[B, D]``, channels that the network did not see.
            negatives: of :meth:`VideoNegatives.draw`.
        """
        return self.pair_losses(queries, keys, reference, target, dropped, negatives)[0]


def _video_numbers(data_samples: list | None) -> Tensor:
    numbers = [None if sample is None else sample.get('sample_idx') for sample in data_samples or [None]]
    if None in numbers:
        raise InputError(
            'Negatives come from other videos, and a clip does not tell its own: its metainfo has no sample_idx. '
            'End the pipeline of train_dataloader with PackClip.'
        )
    return torch.tensor(numbers)
