"""Negatives from frames of other videos (LIIR, section 3.1)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.models.backbones import Backbone
from stt_mm.models.memory_bank import MemoryBank
from stt_mm.ops import draw_permutations, draw_shifts, streamed_log_sum_exp, to_device
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number, generator
from stt_mm.utils.checks import check_count


class MovingAverage(ExponentialMovingAverage):
    """MMEngine's, without asking the device for the number of its steps; the first one copies."""

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the parameters towards those of a network like the averaged one, and take over its buffers."""
        weight = torch.where(self.steps == 0, 1.0, self.momentum)
        for average, source in zip(self.module.parameters(), model.parameters(), strict=True):
            average.lerp_(source, weight.to(average.dtype))
        for average, source in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(source)
        self.steps.add_(1)


class Drawn(NamedTuple):
    """The negatives of a step."""

    points: Tensor  # [M, C]
    counted: Tensor  # bool [B, M], whether a point is a negative of a sample


@MODELS.register_module()
class VideoNegatives(nn.Module):
    """A bank of points of earlier frames, which compete with the reference frame for each query.

    The share that the reference frame keeps is ``sigmoid(lse_reference - lse_negatives)``, of the log-sum-exps over its
    own cells and over the negatives: the affinity over both is the affinity over the reference frame times that gate.
    A frame that comes in is seen by a moving average of the backbone, in evaluation mode and without a gradient, under
    a position map whose places are moved, so that no place alone tells a negative. All draws are functions of (seed,
    iteration, rank), so that a resumed training repeats them.

    Args:
        stage: stage whose features are compared, and whose affinity is gated.
        channels: of that stage.
        frames: number of frames in the bank, 1,440 in the paper. It starts empty, and what is not there yet takes no
            part; with no negative at all the gate is 1.
        points: points of each frame that a step uses, the same ones for all queries.
        stored: points of each frame that are kept, of which each step draws ``points``. The paper draws them from whole
            frames, which would take gigabytes.
        incoming: frames of the batch of each process that come in, the first ones; ``None``: all. The average takes a
            sixth of the time of a step for all of them.
        momentum: weight of the backbone in each update of its average; the paper does not state it. The first update
            copies.
        modulation: how the position map is moved for a frame that comes in: ``shifting`` in a circle along both axes,
            ``shuffling`` all its places, or ``None``. A backbone without a position map has nothing to move.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        stage: str = 'res5',
        channels: int = 256,
        frames: int = 1440,
        points: int = 4,
        stored: int = 16,
        incoming: int | None = None,
        momentum: float = 0.001,
        modulation: Literal['shifting', 'shuffling'] | None = 'shifting',
    ) -> None:
        super().__init__()
        for name, value in dict(channels=channels, frames=frames, points=points).items():
            check_count(name, value)
        if incoming is not None:
            check_count('incoming', incoming)
        check_count('stored', stored, points)
        check_number('momentum', momentum, above=0)
        if momentum >= 1:
            raise InputError(f'momentum must be below 1, got {momentum}.')
        check_choice('modulation', modulation, ('shifting', 'shuffling', None))
        self.stage = stage
        self.points = points
        self.incoming = incoming
        self.momentum = momentum
        self.modulation = modulation
        self.bank = MemoryBank(frames, channels, points=stored, normalize=False)
        self.encoder: MovingAverage | None = None

    def follow(self, backbone: nn.Module) -> None:
        """Make the moving average of a backbone, which returns the stages that are trained."""
        self.encoder = MovingAverage(backbone, self.momentum)
        self.encoder.module.keep_stages([self.stage])
        self.encoder.eval()

    def train(self, mode: bool = True) -> 'VideoNegatives':
        """The moving average stays in evaluation mode."""
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    @torch.no_grad()
    def draw(self, videos: Tensor) -> Drawn:
        """Negatives for samples of these videos, int64 ``[B]``."""
        bank = self.bank
        chosen = draw_permutations(_rng(0), bank.size, (1, bank.points))[:, : self.points]
        chosen = to_device(chosen, bank.queue.device)[..., None].expand(-1, -1, bank.dim)
        counted = (bank.videos != videos[:, None]) & (bank.videos >= 0)
        return Drawn(bank.queue.gather(1, chosen).flatten(0, 1), counted.repeat_interleave(self.points, 1))

    def log_mass(self, query: Tensor, drawn: Drawn, scale: float) -> Tensor:
        """Log-sum-exp ``[B, H * W]`` of queries ``[B, C, H, W]`` over their negatives; ``-inf`` if there are none.

        Raises:
            ValueError: the features have another number of channels than the bank.
        """
        self._check_channels(query)
        return streamed_log_sum_exp(query, drawn.points, drawn.counted, scale)

    @torch.no_grad()
    def remember(self, backbone: Backbone, frames: Tensor, videos: Tensor) -> None:
        """Move the average on, and put points of new frames into the bank.

        Args:
            backbone: the network that is trained.
            frames: ``[B, 3, H, W]``, as the network sees them.
            videos: int64 ``[B]``, the number of the video of each frame.

        Raises:
            ValueError: the maps have fewer cells than are kept, or other channels, or the bank is too small.
        """
        self.encoder.update_parameters(backbone)
        frames, videos = frames[: self.incoming], videos[: self.incoming]
        if len(frames) * get_world_size() > self.bank.size:
            raise InputError(
                f'{len(frames)} frames of each of {get_world_size()} process(es) come in, and the bank holds '
                f'{self.bank.size}. Raise model.negatives.frames, or set model.negatives.incoming to less.'
            )
        rng = _rng(1)
        with self._moved(backbone, frames, rng):
            (features,) = self.encoder(frames)
        self._check_channels(features)
        cells = features.flatten(2).mT
        if cells.shape[1] < self.bank.points:
            raise InputError(
                f'{self.bank.points} points of each frame are to be kept, and the maps of {self.stage} have '
                f'{cells.shape[1]} cells. Set model.negatives.stored to less.'
            )
        places = draw_permutations(rng, len(frames), features.shape[-2:])[:, : self.bank.points]
        places = to_device(places, cells.device)[..., None].expand(-1, -1, self.bank.dim)
        self.bank.enqueue(cells.float().gather(1, places), videos)

    def _check_channels(self, features: Tensor) -> None:
        if features.shape[1] != self.bank.dim:
            raise InputError(
                f'The maps of {self.stage} have {features.shape[1]} channels, the bank of negatives {self.bank.dim}. '
                f'Set model.negatives.channels={features.shape[1]}.'
            )

    def _moved(self, backbone: nn.Module, frames: Tensor, rng: np.random.Generator) -> AbstractContextManager:
        position = getattr(self.encoder.module, 'position', None)
        if position is None or self.modulation is None:
            return nullcontext()
        grid = backbone.stem_grid(frames.shape[-2:])
        if self.modulation == 'shifting':
            return position.shifted(draw_shifts(rng, len(frames), grid))
        return position.shuffled(draw_permutations(rng, len(frames), grid))


def _rng(purpose: int) -> np.random.Generator:
    info = MessageHub.get_current_instance().runtime_info
    # Five numbers: data sets and random walks draw by three and four, and no stream shall be theirs.
    return generator(int(info.get('seed') or 0), int(info.get('iter', 0)), get_rank(), 1, purpose)
