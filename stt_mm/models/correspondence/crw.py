"""Contrastive random walk (CRW, NeurIPS 2020)."""

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.models.correspondence.base import Correspondence
from stt_mm.ops import cut_patches, draw_crops, grid_boxes, round_trips, to_device, walk_loss
from stt_mm.registry import MODELS
from stt_mm.utils import check_number, generator


@MODELS.register_module()
class ContrastiveRandomWalk(Correspondence):
    """Walk from patch to patch through the frames of a clip and back; the walk should end where it began.

    The backbone sees patches, not frames, so that a node knows nothing of its place: each patch is averaged to one
    vector, which a linear layer turns into a node of length 1. Nodes come from the backbone's last stage; what is
    evaluated is ``feature_stage``, without the linear layer. Crops and dropped edges are functions of (seed,
    iteration, rank), so that a resumed training repeats them.

    Args:
        backbone: config of the network.
        data_preprocessor: config of the colour conversion.
        in_channels: channels of the backbone's last stage.
        channels: length of a node.
        grid: patches per side; they overlap by half.
        crop_area: smallest and largest part of a patch that is cut out and resized to it; (1, 1) for whole patches.
        temperature: divides the cosines of nodes.
        edge_dropout: probability with which an edge between two nodes is left out.
        one_step: also count walks to the next frame and back, which the released code leaves out.
        propagator: config of the label propagation.
        feature_stage: stage that is evaluated.
        init_cfg: initialisation of the whole model.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        backbone: dict,
        data_preprocessor: dict,
        in_channels: int = 512,
        channels: int = 128,
        grid: int = 7,
        crop_area: tuple[float, float] = (0.7, 0.9),
        temperature: float = 0.05,
        edge_dropout: float = 0.1,
        one_step: bool = False,
        propagator: dict | None = None,
        feature_stage: str | None = 'res4',
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, propagator, feature_stage, init_cfg)
        if grid < 2 or not 0 < crop_area[0] <= crop_area[1] <= 1:
            raise InputError(
                f'grid must be 2 or more and crop_area (smallest, largest) within 0..1, got {grid} and {crop_area}.'
            )
        check_number('temperature', temperature, above=0)
        check_number('edge_dropout', edge_dropout, 0)
        if edge_dropout >= 1:
            raise InputError(f'edge_dropout must be below 1, got {edge_dropout}: no edge would be left.')
        self.grid = grid
        self.crop_area = tuple(crop_area)
        self.temperature = temperature
        self.edge_dropout = edge_dropout
        self.one_step = one_step
        self.projection = nn.Linear(in_channels, channels)

    def patches(self, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """Cropped patches ``[M, N, 3, h, w]`` of frames ``[M, 3, H, W]``, N = grid ** 2, row by row."""
        try:
            boxes = grid_boxes(frames.shape[-2:], self.grid)
        except ValueError as error:
            raise InputError(str(error)) from error
        corners, sides = boxes.split(2, dim=1)
        crops = draw_crops(rng, len(frames) * len(boxes), self.crop_area).view(-1, *boxes.shape)
        cropped = torch.cat([corners + crops[..., :2] * sides, crops[..., 2:] * sides], dim=-1)
        size = tuple(2 * side // (self.grid + 1) for side in frames.shape[-2:])
        return cut_patches(frames, to_device(cropped.to(frames.dtype), frames.device), size)

    def nodes(self, patches: Tensor) -> Tensor:
        """float32 ``[M, channels]``, of length 1, from patches ``[M, 3, h, w]``."""
        maps = self.extract_feat(patches)[self.backbone.stages[-1]]
        return F.normalize(self.projection(maps.mean((2, 3))).float(), dim=1)

    def loss(self, inputs: dict, data_samples: list | None = None) -> dict[str, Tensor]:
        """Loss of a batch of clips.

        Args:
            inputs: of :class:`ClipDataPreprocessor`; ``student``, ``[B, T, 3, H, W]``, is used.
            data_samples: not used.

        Returns:
            ``loss_walk``, and ``returned``, the part of the nodes to which the longest walk most probably returns.

        Raises:
            ValueError: for frames that the grid does not fit, or clips of one frame.
        """
        frames = inputs['student']
        if frames.shape[1] < 2:
            raise InputError(
                f'A walk needs clips of 2 frames or more, got {frames.shape[1]}. Raise clip_length of the dataset.'
            )
        info = MessageHub.get_current_instance().runtime_info
        # Four numbers: the data sets draw by (seed, draw, index), and no stream shall be theirs.
        rng = generator(int(info.get('seed') or 0), int(info.get('iter', 0)), get_rank(), 0)
        patches = self.patches(frames.flatten(0, 1), rng)
        nodes = self.nodes(patches.flatten(0, 1)).view(*frames.shape[:2], self.grid**2, -1)
        dropout = torch.Generator(nodes.device).manual_seed(int(rng.integers(2**31)))
        with torch.autocast(nodes.device.type, enabled=False):
            trips = round_trips(nodes, self.temperature, self.edge_dropout, self.one_step, dropout)
            start = torch.arange(trips.shape[-1], device=trips.device)
            return dict(loss_walk=walk_loss(trips), returned=(trips[-1].argmax(-1) == start).float().mean())
