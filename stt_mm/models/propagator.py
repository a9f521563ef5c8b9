"""Streaming label propagation with bounded memory, under a named protocol."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops import Plan, Voters, Window, plan_for_memory, propagate_many
from stt_mm.protocols import get_protocol
from stt_mm.registry import MODELS
from stt_mm.utils import check_number

logger = logging.getLogger(__name__)

# On a CPU a tile's products should stay in its caches; a GPU wants few launches.
LARGEST_TILE = dict(cpu=8, cuda=16)
CPU_MEMORY = 2**28
# On a GPU memory is made for so many frames at a time: blocks that grow with each frame would leave it in pieces.
FRAMES_AT_ONCE = 32


@dataclass
class _Group:
    """Labels that came in together: their frame of birth, and their memory."""

    birth: int
    labels: Tensor  # [h, w, capacity, K], in step with the keys


@MODELS.register_module()
class LabelPropagator:
    """Carry labels through a video, one frame at a time, looking only back.

    The memory holds the features of the frames whose labels were given and of the last ``num_context`` frames; it does
    not grow with the length of the video. Labels that are added later have a memory of their own, which begins with
    their frame, so that nothing changes for those that were there before.

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
        self._groups: list[_Group] = []
        self._frames: list[int] = []  # their numbers, in the order of the memory
        self._memory: Tensor | None = None  # [h, w, capacity, C]
        self._time = 0
        self._budget = CPU_MEMORY
        self._plan: Plan | None = None
        self._limits = 0, 0  # side of a tile, and tiles together, that the device was found to bear

    def start(self, feature: Tensor, label: Tensor) -> None:
        """Begin a video.

        Args:
            feature: ``[C, h, w]``, features of the first frame.
            label: ``[K, h, w]``, its labels on the same grid.

        Raises:
            ValueError: if the grids differ, or features are not finite.
        """
        _check_grid(tuple(feature.shape[1:]), label)
        self._time, self._frames, self._groups, self._plan, self.finite = 0, [0], [], None, None
        self._limits = LARGEST_TILE['cuda' if feature.is_cuda else 'cpu'], 2**30 if feature.is_cuda else 1
        self._budget = self.max_memory or (_free_memory(feature.device) // 4 if feature.is_cuda else CPU_MEMORY)
        feature = self._prepare(feature)
        room = min(FRAMES_AT_ONCE, self.protocol.num_context + 1) if feature.is_cuda else 1
        self._memory = feature.new_zeros(*feature.shape[1:], room, len(feature))
        self._memory[:, :, 0] = feature.permute(1, 2, 0)
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
        height, width, _, channels = self._memory.shape
        if feature.shape != (channels, height, width):
            raise InputError(
                f'The first frame had features {(channels, height, width)}, this one has '
                f'{tuple(feature.shape)}: all frames of a video must share one size.'
            )
        self._time += 1
        feature = self._prepare(feature)
        labels = self._propagate(feature)
        self._remember(feature, labels)
        return torch.cat(labels)

    def add(self, label: Tensor) -> None:
        """Follow further labels from the frame that was just processed.

        Args:
            label: ``[K, h, w]``.

        Raises:
            RuntimeError: before :meth:`start`.
            ValueError: if the grid differs.
        """
        if self._memory is None:
            raise RuntimeError('Call start() with the first frame and its labels before adding others.')
        _check_grid(tuple(self._memory.shape[:2]), label)
        memory = label.new_zeros(*self._memory.shape[:3], label.shape[0])
        memory[:, :, self._frames.index(self._time)] = label.permute(1, 2, 0)
        self._groups.append(_Group(self._time, memory))

    def _prepare(self, feature: Tensor) -> Tensor:
        finite = torch.isfinite(feature).all()
        self.finite = finite if self.finite is None else self.finite & finite
        if not feature.is_cuda:
            check_finite(bool(finite), self._time)
        return F.normalize(feature.float(), dim=0).to(feature.dtype) if self.protocol.normalize else feature

    def _copies(self, group: _Group) -> tuple[list[int], list[int]]:
        """How often each frame of the memory stands there for a group: inside the window, and without it."""
        protocol, age = self.protocol, self._time - group.birth
        windowed = [int(frame > group.birth and frame >= self._time - protocol.num_context) for frame in self._frames]
        everywhere = [0] * len(windowed)
        first = self._frames.index(group.birth)
        again = dict(repeated=int(age <= protocol.num_context), padded=max(0, protocol.num_context + 1 - age), once=0)
        windowed[first] = again[protocol.first_frame] + protocol.first_window
        everywhere[first] = int(not protocol.first_window)
        return windowed, everywhere

    def _propagate(self, feature: Tensor) -> list[Tensor]:
        used, protocol = len(self._frames), self.protocol
        keys = self._memory[:, :, :used].permute(2, 3, 0, 1)
        voters = [Voters(group.labels[:, :, :used].permute(2, 3, 0, 1), *self._copies(group)) for group in self._groups]
        while True:
            side, together = self._arrange()
            try:
                # The products follow the type of the features; autocast would round float32 ones as well.
                with torch.autocast(feature.device.type, enabled=False):
                    return propagate_many(
                        feature, keys, voters, self._plan, protocol.topk, protocol.temperature, protocol.ties
                    )
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
        height, width, capacity, _ = self._memory.shape
        protocol = self.protocol
        window = None if protocol.window is None else Window(protocol.window, protocol.radius, protocol.strict)
        whole = () if protocol.first_window else (None,)
        side, together = plan_for_memory(
            (height, width),
            capacity,
            None if whole else window,
            self._memory.element_size(),
            self._budget,
            self._limits[0],
        )
        together = min(together, self._limits[1])
        if self._plan is None or (self._plan.tile, self._plan.together) != (side, together):
            self._plan = Plan((height, width), (window, *whole), side, together, self._memory.device)
        return side, together

    def _remember(self, feature: Tensor, labels: list[Tensor]) -> None:
        births = {group.birth for group in self._groups}
        oldest = self._time + 1 - self.protocol.num_context
        place = next((i for i, frame in enumerate(self._frames) if frame < oldest and frame not in births), None)
        if place is None:
            place = len(self._frames)
            self._frames.append(self._time)
            if place == self._memory.shape[2]:
                missing = self.protocol.num_context + 1 - place
                self._grow(min(FRAMES_AT_ONCE, max(missing, 1)) if feature.is_cuda else 1)
        else:
            self._frames[place] = self._time
        self._memory[:, :, place] = feature.permute(1, 2, 0)
        for group, label in zip(self._groups, labels, strict=True):
            group.labels[:, :, place] = label.permute(1, 2, 0)

    def _grow(self, frames: int) -> None:
        """Make room for further frames."""
        self._memory = F.pad(self._memory, (0, 0, 0, frames))
        for group in self._groups:
            group.labels = F.pad(group.labels, (0, 0, 0, frames))


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
