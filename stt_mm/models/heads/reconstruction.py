"""Pyramid frame reconstruction (STT, section 3.2)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops import color_centres, nearest_centre, reconstruct, subsample, upsample
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number
from stt_mm.utils.checks import check_count

CHANNELS = {'all': slice(0, 3), 'ab': slice(1, 3)}


@MODELS.register_module()
class ReconstructionHead(BaseModule):
    """Rebuild the target frame from the reference frame's colours at several stages.

    Args:
        loss: config of the distance.
        stages: stages whose local affinity rebuilds the frame, such as ``('res3', 'res4')``.
        weights: one weight per stage.
        target: channels that are rebuilt: the ``dropped`` one (released code), ``ab`` or ``all`` (paper); or
            ``classes``, the probability of each of a few colours of Lab frames (CorrFlow; MAST compares both and
            chooses channels), with a :class:`stt_mm.models.ColorClassLoss`.
        resolution: ``full`` compares at the size of the frame (released code), ``stride`` on the stage's grid (paper).
        upsample: how a grid becomes a frame, see :func:`stt_mm.ops.upsample`.
        classes: number of colours; 16 in CorrFlow, whose table is not published with the paper: here they are those of
            :func:`stt_mm.ops.color_centres`.
    """

    def __init__(
        self,
        loss: dict,
        stages: Sequence[str] = ('res3', 'res4'),
        weights: Sequence[float] = (1.0, 1.0),
        target: Literal['dropped', 'ab', 'all', 'classes'] = 'dropped',
        resolution: Literal['full', 'stride'] = 'full',
        upsample: Literal['half_pixel', 'aligned'] = 'half_pixel',
        classes: int = 16,
    ) -> None:
        super().__init__()
        if len(stages) != len(weights) or not stages:
            raise InputError(f'Expected one weight per stage, got stages={tuple(stages)}, weights={tuple(weights)}.')
        for weight in weights:
            check_number('weights', weight, 0)
        check_choice('target', target, ('dropped', 'ab', 'all', 'classes'))
        check_count('classes', classes, 2)
        check_choice('resolution', resolution, ('full', 'stride'))
        check_choice('upsample', upsample, ('half_pixel', 'aligned'))
        self.loss_fn = MODELS.build(loss)
        self.stages = tuple(stages)
        self.weights = tuple(weights)
        self.target = target
        self.resolution = resolution
        self.upsample = upsample
        self.centres = color_centres(classes) if target == 'classes' else None

    def channels(self, frame: Tensor, dropped: Tensor) -> Tensor:
        """The channels that are rebuilt, or the numbers of the colours.

        Args:
            frame: ``[B, 3, H, W]``, undropped.
            dropped: int64 ``[D]`` or ``[B, D]``, the channels that the student did not see.

        Returns:
            ``[B, C, H, W]``.

        Raises:
            ValueError: what was dropped is rebuilt, and nothing was.
        """
        if self.centres is not None:
            return nearest_centre(frame, self.centres)
        if self.target != 'dropped':
            return frame[:, CHANNELS[self.target]]
        if not dropped.shape[-1]:
            raise InputError(
                'The reconstruction_head rebuilds the channels that are dropped, and none is. Set '
                "model.data_preprocessor.dropout=one, or model.reconstruction_head.target to 'ab' or 'all'."
            )
        if dropped.dim() == 1:
            return frame.index_select(1, dropped)
        return frame.take_along_dim(dropped[..., None, None], 1)

    def loss(
        self,
        affinities: dict[str, Tensor],
        reference: Tensor,
        target: Tensor,
        grids: dict[str, tuple[int, int]],
        dropped: Tensor,
        gates: Mapping[str, Tensor] | None = None,
        whole_frames: Collection[str] = (),
    ) -> dict[str, Tensor]:
        """Reconstruction loss per stage.

        Args:
            affinities: stage to local affinity ``[B, h * w, K]``.
            reference: ``[B, 3, H, W]``, undropped normalised colours of the reference frame.
            target: ``[B, 3, H, W]``, the same of the target frame.
            grids: stage to ``(h, w)``.
            dropped: int64 ``[D]`` or ``[B, D]``, the channels that the student did not see.
            gates: stage to what each row of its affinity is multiplied by, ``[B, h * w]``.
            whole_frames: stages whose affinity has the cells of the frame, not of a window.

        Returns:
            ``loss_recon_<stage>`` per stage.

        Raises:
            ValueError: a side of the frames is no multiple of the stride of a stage, or as above.
        """
        reference, target = self.channels(reference, dropped), self.channels(target, dropped)
        losses = {}
        for stage, weight in zip(self.stages, self.weights, strict=True):
            stride = -(-target.shape[-1] // grids[stage][1])
            if tuple(side * stride for side in grids[stage]) != tuple(target.shape[-2:]):
                raise InputError(
                    f'Frames of {target.shape[-2]} x {target.shape[-1]} pixels do not fit the stride '
                    f'{stride} of {stage}. Choose a size of the crops, in the pipeline of '
                    f'train_dataloader, of which both sides are multiples of {stride}.'
                )
            copied = subsample(reference, stride)
            if self.centres is not None:
                numbers = torch.arange(len(self.centres), device=copied.device)[:, None, None]
                copied = (copied == numbers).to(affinities[stage].dtype)
            rebuilt = reconstruct(affinities[stage], copied, stage in whole_frames)
            if gates and stage in gates:
                rebuilt = rebuilt * gates[stage].unflatten(1, grids[stage])[:, None]
            if self.resolution == 'full':
                truth = target
                rebuilt = upsample(rebuilt, stride, self.upsample)
            else:
                truth = subsample(target, stride)
            losses[f'loss_recon_{stage}'] = weight * self.loss_fn(rebuilt, truth)
        return losses
