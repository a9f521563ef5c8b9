"""Streaming label propagation with bounded memory, under a named protocol."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops import LongSearch, Plan, Vote, Voters, Way, Window, normalise_label, plan_for_memory, propagate_many
from stt_mm.ops.search import at_least_float32
from stt_mm.protocols import get_protocol
from stt_mm.registry import MODELS
from stt_mm.utils import check_number

logger = logging.getLogger(__name__)

# On a CPU a tile's products should stay in its caches; a GPU wants few launches.
LARGEST_TILE = dict(cpu=8, cuda=16)
CPU_MEMORY = 2**28
# On a GPU memory is made for so many frames at a time: blocks that grow with each frame would leave it in pieces.
FRAMES_AT_ONCE = 32
# Frames further back than this are old for a long search; as many more widen its steps by one cell, up to four (MAST).
OLD, WIDEST_STEP = 15, 4


@dataclass(frozen=True)
class Followed:
    """Labels that came in together: the frames that they were given in, and their memory."""

    given: tuple[int, ...]  # rising; what was found before the last of them has no vote
    labels: Tensor  # [h, w, capacity, K], with the margin of the keys and in step with them


@MODELS.register_module()
class LabelPropagator:
    """Carry labels through a video, one frame at a time, looking only back.

    The memory holds the features of the frames whose labels were given, of others that the protocol fixes, and of the
    last ``num_context`` frames; it does not grow with the length of the video. Labels that are added later have a
    memory of their own, which begins with their frame, so that nothing changes for those that were there before.

    Args:
        protocol: name of a protocol, or ``dict(name=..., field=value)`` to change some of its fields
            (:mod:`stt_mm.protocols`).
        max_memory: bytes that the correlations may take at a time; ``None``: 256 MiB on a CPU, a quarter of what is
            free on a GPU when a video begins. Where the device refuses even that, less is done at a time.

    Attributes:
        protocol: the :class:`stt_mm.protocols.Protocol`.
        finite: bool, 0-dimensional, on the device: whether all features of the video were finite so far. On a CPU
            others are refused at once; to ask a GPU is left to the caller, because it takes waiting for it.
    """

    def __init__(self, protocol: Mapping[str, Any] | str = 'stt_davis_s8', max_memory: int | None = None) -> None:
        if max_memory is not None:
            check_number('max_memory, in bytes,', max_memory, 1)
        self.protocol = get_protocol(protocol)
        self.max_memory = max_memory
        self.finite: Tensor | None = None
        self._groups: list[Followed] = []
        self._frames: list[int] = []  # their numbers, in the order of the memory
        self._memory: Tensor | None = None  # [h, w, capacity, C], with a margin of zeros if the protocol wants them
        self._grid = 0, 0
        self._time = 0
        self._budget = CPU_MEMORY
        self._plan: Plan | None = None
        self._limits = 0, 0  # side of a tile, and tiles together, that the device was found to bear

    def start(self, feature: Tensor, label: Tensor, time: int = 0) -> None:
        """Begin a video.

        Args:
            feature: ``[C, h, w]``, features of the first frame.
            label: ``[K, h, w]``, its labels on the same grid.
            time: number of this frame; -1 if it comes once more, to be the first that labels are carried to.

        Raises:
            ValueError: if the grids differ, or features are not finite.
        """
        _check_grid(tuple(feature.shape[1:]), label)
        self._time, self._frames, self._groups, self._plan, self.finite = time, [time], [], None, None
        self._limits = LARGEST_TILE['cuda' if feature.is_cuda else 'cpu'], 2**30 if feature.is_cuda else 1
        self._budget = self.max_memory or (_free_memory(feature.device) // 4 if feature.is_cuda else CPU_MEMORY)
        feature = self._prepare(feature)
        self._grid, margin = tuple(feature.shape[1:]), self._margin
        room = min(FRAMES_AT_ONCE, self.protocol.num_context + len(self.protocol.fixed)) if feature.is_cuda else 1
        self._memory = feature.new_zeros(*(side + 2 * margin for side in self._grid), room, len(feature))
        self._write(self._memory, 0, feature)
        self.add(label)

    def step(self, feature: Tensor) -> Tensor:
        """Labels of the next frame.

        Args:
            feature: ``[C, h, w]``.

        Returns:
            ``[K, h, w]``, soft labels, those of :meth:`start` first, then those added later in their order. They enter
            the memory.

        Raises:
            RuntimeError: before :meth:`start`.
            ValueError: if the frame's grid differs from the first frame's, or features are not finite.
        """
        if self._memory is None:
            raise RuntimeError('Call start() with the first frame and its labels before step().')
        expected = self._memory.shape[3], *self._grid
        if feature.shape != expected:
            raise InputError(
                f'The first frame had features {expected}, this one has '
                f'{tuple(feature.shape)}: all frames of a video must share one size.'
            )
        self._time += 1
        feature = self._prepare(feature)
        labels = self._propagate(feature)
        if self.protocol.feedback == 'stretched':
            labels = [normalise_label(label) for label in labels]
        self._remember(feature, labels)
        return torch.cat(labels)

    def add(self, label: Tensor, earlier: Followed | None = None) -> None:
        """Follow further labels from the frame that was just processed.

        Args:
            label: ``[K, h, w]``.
            earlier: of :meth:`memory_of`, whose labels are given anew here. The frames that they were given in keep
                their votes, those that they were found in lose them.

        Raises:
            RuntimeError: before :meth:`start`.
            ValueError: if the grid differs.
        """
        if self._memory is None:
            raise RuntimeError('Call start() with the first frame and its labels before adding others.')
        _check_grid(self._grid, label)
        if earlier is None:
            earlier = Followed((), label.new_zeros(*self._memory.shape[:3], label.shape[0]))
        self._write(earlier.labels, self._frames.index(self._time), label)
        self._groups.append(Followed((*earlier.given, self._time), earlier.labels))

    def memory_of(self, place: int, channels: Sequence[int], background: bool) -> Followed:
        """A copy of what is kept of some labels, to be given anew by :meth:`add`.

        Args:
            place: of their group among those that there are, in the order of their coming.
            channels: of these labels.
            background: whether a channel of all else comes before them.
        """
        group = self._groups[place]
        labels = group.labels[..., list(channels)]
        if background:
            labels = torch.cat([group.labels.sum(3, keepdim=True) - labels.sum(3, keepdim=True), labels], 3)
        return Followed(group.given, labels)

    def drop(self, place: int) -> None:
        """Follow a group, by its place as in :meth:`memory_of`, no longer."""
        del self._groups[place]

    def replace(self, place: int, label: Tensor) -> None:
        """Let the memory hold other labels of the frame that was just processed than those that were found.

        Args:
            place: number of the :meth:`start` or :meth:`add` that the labels came with, from 0.
            label: ``[K, h, w]``.
        """
        self._write(self._groups[place].labels, self._frames.index(self._time), label)

    def give_way(self, place: int, channels: Sequence[int], share: Tensor) -> None:
        """Let labels of the frame that was just processed leave room to others.

        Args:
            place: of their group, as in :meth:`memory_of`; its first channel, which stands for all else, gets the room.
            channels: of these N labels.
            share: ``[N, h, w]``, the part of each that goes, 0 to 1.
        """
        (height, width), margin, now = self._grid, self._margin, self._frames.index(self._time)
        label = self._groups[place].labels[margin : margin + height, margin : margin + width, now]
        given = label[..., list(channels)] * share.permute(1, 2, 0)
        label[..., list(channels)] -= given
        label[..., 0] += given.sum(2)

    @property
    def _margin(self) -> int:
        """Cells around the frame whose features and labels are 0."""
        window = self._window
        return 0 if self.protocol.border == 'excluded' or window is None else window.reach

    @property
    def _window(self) -> Window | None:
        protocol = self.protocol
        return None if protocol.window is None else Window(protocol.window, protocol.radius, protocol.strict)

    def _write(self, memory: Tensor, place: int, values: Tensor) -> None:
        (height, width), margin = self._grid, self._margin
        memory[margin : margin + height, margin : margin + width, place] = values.permute(1, 2, 0)

    def _prepare(self, feature: Tensor) -> Tensor:
        finite = torch.isfinite(feature).all()
        self.finite = finite if self.finite is None else self.finite & finite
        if not feature.is_cuda:
            check_finite(bool(finite), max(self._time, 0))
        feature = comparable(feature, self.protocol.normalize)
        # Half precision is enough to choose the best cosines. Larger products leave its range, and where all of them
        # weigh, a rounded one weighs wrongly.
        return feature if self.protocol.normalize and self.protocol.vote == 'topk' else at_least_float32(feature)

    def _copies(self, group: Followed) -> list[list[int]]:
        """How often each frame of the memory stands there for a group, per way to search."""
        protocol, birth = self.protocol, group.given[-1]
        lags = range(1, protocol.num_context + 1) if protocol.lags is None else protocol.lags
        copies = [[0] * len(self._frames) for _ in self._ways]
        for place, frame in enumerate(self._frames):
            if frame in group.given:
                age = self._time - birth
                again = dict(repeated=int(age <= protocol.num_context), padded=max(0, protocol.num_context + 1 - age))
                count = again.get(protocol.first_frame, 0) * (frame == birth) + protocol.first_window
                if not protocol.first_window:
                    copies[1][place] = 1
            else:
                voting = self._time - frame in lags or frame - birth in protocol.fixed
                count = int(frame > birth and voting)
            # Steps of the coarse search: 1 for a frame that is not old.
            step = min((self._time - frame) // OLD + 1, WIDEST_STEP) if self._time - frame > OLD else 1
            way = 0 if protocol.long_search is None else step - 1
            copies[way][place] = count
        return copies

    @property
    def _ways(self) -> list[Way]:
        protocol, window = self.protocol, self._window
        if protocol.long_search is None:
            return [window] if protocol.first_window else [window, None]
        steps = range(2, WIDEST_STEP + 1)
        return [window, *(LongSearch(window.reach, protocol.long_search, d, protocol.long_labels) for d in steps)]

    def _propagate(self, feature: Tensor) -> list[Tensor]:
        used, protocol = len(self._frames), self.protocol
        keys = self._memory[:, :, :used].permute(2, 3, 0, 1)
        voters = [Voters(group.labels[:, :, :used].permute(2, 3, 0, 1), self._copies(group)) for group in self._groups]
        vote = Vote(
            protocol.vote,
            protocol.temperature,
            protocol.topk,
            protocol.ties,
            protocol.components,
            protocol.sigma,
            protocol.mass,
            protocol.threshold,
        )
        while True:
            side, together = self._arrange()
            try:
                # The products follow the type of the features; autocast would round float32 ones as well.
                with torch.autocast(feature.device.type, enabled=False):
                    return propagate_many(feature, keys, voters, self._plan, vote, self._frames)
            except RuntimeError as error:
                if side == together == 1 or not _is_out_of_memory(error):
                    raise
            # Not in the handler, whose error holds on to the tensors that did not fit.
            self._limits = (side, together // 2) if together > 1 else (side // 2, 1)
            side, together = self._limits
            logger.warning('Out of memory: queries now go in tiles of %d x %d, %d at a time.', side, side, together)
            if feature.is_cuda:
                torch.cuda.empty_cache()

    def _arrange(self) -> tuple[int, int]:
        """Make the plan for the memory as it is, unless there is one; its side of a tile and tiles together."""
        *searched, capacity, _ = self._memory.shape
        protocol, ways = self.protocol, self._ways
        # A window is part of the whole frame, where that is searched as well.
        frames = [(None, capacity)] if None in ways else [(ways[0], capacity)]
        frames += [(way, len(protocol.fixed)) for way in ways if isinstance(way, LongSearch)][-1:]
        # Other votes than those of the best pairs have a weight for each correlation, and others to make it.
        itemsize = self._memory.element_size() * (1 if protocol.vote == 'topk' else 4)
        side, together = plan_for_memory(tuple(searched), frames, itemsize, self._budget, self._limits[0])
        together = min(together, self._limits[1])
        if self._plan is None or (self._plan.tile, self._plan.together) != (side, together):
            self._plan = Plan(self._grid, ways, side, together, self._memory.device, self._margin)
        return side, together

    def _remember(self, feature: Tensor, labels: list[Tensor]) -> None:
        fixed = {group.given[-1] + number for group in self._groups for number in self.protocol.fixed}
        fixed.update(frame for group in self._groups for frame in group.given)
        oldest = self._time + 1 - self.protocol.num_context
        place = next((i for i, frame in enumerate(self._frames) if frame < oldest and frame not in fixed), None)
        if place is None:
            place = len(self._frames)
            self._frames.append(self._time)
            if place == self._memory.shape[2]:
                missing = self.protocol.num_context + len(self.protocol.fixed) - place
                self._grow(min(FRAMES_AT_ONCE, max(missing, 1)) if feature.is_cuda else 1)
        else:
            self._frames[place] = self._time
        self._write(self._memory, place, feature)
        for group, label in zip(self._groups, labels, strict=True):
            self._write(group.labels, place, label)

    def _grow(self, frames: int) -> None:
        """Make room for further frames."""
        self._memory = F.pad(self._memory, (0, 0, 0, frames))
        self._groups = [Followed(group.given, F.pad(group.labels, (0, 0, 0, frames))) for group in self._groups]


def comparable(feature: Tensor, normalize: bool | str) -> Tensor:
    """Features ``[C, h, w]`` whose products a protocol compares, see its field ``normalize``."""
    if not normalize:
        return feature
    compared = feature.float().relu() if normalize == 'relu' else feature.float()
    return F.normalize(compared, dim=0).to(feature.dtype)


def check_finite(finite: bool, frame: int) -> None:
    """Refuse features that are not finite.

    Raises:
        ValueError: naming the frame, the first being 0.
    """
    if not finite:
        raise InputError(
            f'The features of frame {frame} (the first is 0) are not finite: the weights are damaged, '
            'or too large for half precision.'
        )


def _check_grid(grid: tuple[int, int], label: Tensor) -> None:
    if grid != tuple(label.shape[1:]):
        raise InputError(f'Features have grid {grid}, labels {tuple(label.shape[1:])}.')


def _free_memory(device: torch.device) -> int:
    """Bytes on a GPU that are free, or kept by PyTorch for later use."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def _is_out_of_memory(error: RuntimeError) -> bool:
    messages = ("can't allocate memory", 'not enough memory', 'CUBLAS_STATUS_ALLOC_FAILED')
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(message in str(error) for message in messages)
