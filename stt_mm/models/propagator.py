"""Streaming label propagation with bounded memory, under a named protocol."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops import Voters, Window, label_to_mask, mask_to_label, propagate_many, resize_mask_nearest, tile_side
from stt_mm.protocols import get_protocol
from stt_mm.registry import MODELS
from stt_mm.utils import check_number

logger = logging.getLogger(__name__)

# On a CPU a tile's products should stay in its caches; a GPU wants few launches.
LARGEST_TILE = dict(cpu=8, cuda=16)
CPU_MEMORY = 2**28


@dataclass
class _Group:
    """Labels that came in together: their frame of birth, the ids of the channels (masks only), and their memory."""

    birth: int
    labels: Tensor  # [h, w, T, K], in step with the keys
    ids: tuple[int, ...] | None = None


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
            free on a GPU. Where the device refuses even that, the tiles are made smaller.

    Attributes:
        protocol: the :class:`stt_mm.protocols.Protocol`.
    """

    def __init__(self, protocol: Mapping[str, Any] | str = 'stt_davis_s8', max_memory: int | None = None) -> None:
        if max_memory is not None:
            check_number('max_memory, in bytes,', max_memory, 1)
        self.protocol = get_protocol(protocol)
        self.max_memory = max_memory
        shape = self.protocol.window
        self._window = None if shape is None else Window(shape, self.protocol.radius, self.protocol.strict)
        self._groups: list[_Group] = []
        self._frames: list[int] = []
        self._keys: Tensor | None = None
        self._time = 0
        self._size: tuple[int, int] | None = None
        self._tile: int | None = None

    def start(self, feature: Tensor, label: Tensor) -> None:
        """Begin a video.

        Args:
            feature: ``[C, h, w]``, features of the first frame.
            label: ``[K, h, w]``, its labels on the same grid.

        Raises:
            ValueError: if the grids differ, or features are not finite.
        """
        _check_grid(feature, label)
        self._time, self._frames, self._groups, self._size, self._tile = 0, [0], [], None, None
        self._keys = self._prepare(feature, 0).permute(1, 2, 0)[:, :, None].contiguous()
        self.add_labels(0, label)

    def start_mask(self, feature: Tensor, mask: Tensor) -> Tensor:
        """Begin a video with object ids.

        Args:
            feature: ``[C, h, w]``.
            mask: integer ``[H, W]`` at any size, 0 the background.

        Returns:
            uint8 ``[H, W]``, what the protocol puts out for this frame: the mask, or what resizing leaves of it.
        """
        label, ids = self._label(mask.to(feature.device), feature.shape[1:])
        self.start(feature, label)
        self._groups[0].ids = ids
        self._size = tuple(mask.shape)
        mask = mask.to(torch.uint8)
        if self.protocol.first_output == 'given':
            return mask
        return F.interpolate(self._at_input(mask)[None, None].float(), size=self._size)[0, 0].to(torch.uint8)

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
        if self._keys is None:
            raise RuntimeError('Call start() with the first frame and its labels before step().')
        height, width, _, channels = self._keys.shape
        if feature.shape != (channels, height, width):
            raise InputError(
                f'The first frame had features {(channels, height, width)}, this one has '
                f'{tuple(feature.shape)}: all frames of a video must share one size.'
            )
        feature = self._prepare(feature, self._time + 1)
        self._time += 1
        labels = self._propagate(feature)
        fed_back = [self._fed_back(label, group) for label, group in zip(labels, self._groups, strict=True)]
        self._remember(feature, fed_back)
        return torch.cat(labels)

    def step_mask(self, feature: Tensor) -> Tensor:
        """Object ids of the next frame, uint8 ``[H, W]`` at the size of the first mask; see :meth:`step`."""
        return self.to_mask(self.step(feature))[0]

    def to_mask(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """Ids from the result of :meth:`step`.

        Args:
            label: ``[K, h, w]``.

        Returns:
            uint8 ``[H, W]`` at the size of the first mask, and float ``[H, W]``, the values of the labels that won.
        """
        parts = label.split([group.labels.shape[-1] for group in self._groups])
        masks = [(part, group.ids) for part, group in zip(parts, self._groups, strict=True) if group.ids is not None]
        if not masks:
            raise RuntimeError('No masks were given, only labels: call start_mask() or add_mask() first.')
        return self._mask(*zip(*masks, strict=True))

    def add_labels(self, frame: int, label: Tensor) -> None:
        """Follow further labels from the frame that was just processed.

        Args:
            frame: its number, the first frame of the video being 0.
            label: ``[K, h, w]``.

        Raises:
            ValueError: if it is another frame, whose features may be gone, or the grid differs.
        """
        if self._keys is None:
            raise RuntimeError('Call start() with the first frame and its labels before adding others.')
        if frame != self._time:
            raise InputError(f'Labels can be added for the frame just processed, {self._time}, not for {frame}.')
        _check_grid(self._keys.permute(3, 2, 0, 1)[:, 0], label)
        memory = label.new_zeros(*self._keys.shape[:3], label.shape[0])
        memory[:, :, self._frames.index(frame)] = label.permute(1, 2, 0)
        self._groups.append(_Group(frame, memory))

    def add_mask(self, frame: int, mask: Tensor, current: Tensor | None = None) -> Tensor:
        """Follow further objects from the frame that was just processed; see :meth:`add_labels`.

        Args:
            frame: its number.
            mask: integer ``[H, W]`` ids of the new objects, at the size of the first mask.
            current: uint8 ``[H, W]``, the ids found in this frame; background if ``None``.

        Returns:
            uint8 ``[H, W]``: ``current`` with the new objects over it, YouTube-VOS's rule for objects that appear late.

        Raises:
            ValueError: if an id is in use, or the size differs.
        """
        known = {number for group in self._groups for number in (group.ids or ())[1:]}
        if twice := sorted(known & set(torch.unique(mask).tolist())):
            raise InputError(
                f'Object {twice[0]} is followed already: the objects added at frame {frame} need other '
                f'ids than {sorted(known)}.'
            )
        if self._size is not None and tuple(mask.shape) != self._size:
            raise InputError(
                f'The mask added at frame {frame} is {tuple(mask.shape)} (height, width), the first one {self._size}.'
            )
        mask = mask.to(self._keys.device)
        label, ids = self._label(mask, self._keys.shape[:2])
        self.add_labels(frame, label)
        self._groups[-1].ids = ids
        self._size = tuple(mask.shape)
        mask = mask.to(torch.uint8)
        return mask if current is None else torch.where(mask > 0, mask, current)

    def _prepare(self, feature: Tensor, frame: int) -> Tensor:
        if not torch.isfinite(feature).all():
            raise InputError(
                f'The features of frame {frame} (the first is 0) are not finite: the weights are damaged, '
                'or too large for half precision.'
            )
        return F.normalize(feature.float(), dim=0).to(feature.dtype) if self.protocol.normalize else feature

    def _label(self, mask: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, ...]]:
        if self.protocol.first_label == 'nearest_twice':
            mask = self._at_input(mask)
        rule = 'bilinear' if self.protocol.first_label == 'bilinear' else 'nearest'
        return mask_to_label(mask, tuple(grid), rule)

    def _at_input(self, mask: Tensor) -> Tensor:
        return resize_mask_nearest(mask, self.protocol.input_size(tuple(mask.shape)))

    def _mask(self, labels: tuple[Tensor, ...], ids: tuple[tuple[int, ...], ...]) -> tuple[Tensor, Tensor]:
        size = self.protocol.input_size(self._size) if self.protocol.output == 'input' else self._size
        mask, value = label_to_mask(labels, ids, size, self.protocol.min_max)
        if size == self._size:
            return mask, value
        return resize_mask_nearest(mask, self._size), resize_mask_nearest(value, self._size)

    def _fed_back(self, label: Tensor, group: _Group) -> Tensor:
        if self.protocol.feedback == 'soft' or group.ids is None:
            return label
        mask, _ = self._mask((label,), (group.ids,))
        small = resize_mask_nearest(mask, label.shape[1:])
        return torch.stack([small == number for number in group.ids]).to(label.dtype)

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
        voters = [Voters(group.labels.permute(2, 3, 0, 1), *self._copies(group)) for group in self._groups]
        keys = self._keys.permute(2, 3, 0, 1)
        side = self._tile_side()
        tile = min(side, self._tile or side)
        while True:
            try:
                # The products follow the type of the features; autocast would round float32 ones as well.
                with torch.autocast(feature.device.type, enabled=False):
                    return propagate_many(
                        feature,
                        keys,
                        voters,
                        self._window,
                        self.protocol.topk,
                        self.protocol.temperature,
                        self.protocol.ties,
                        tile,
                    )
            except RuntimeError as error:
                if tile == 1 or not _is_out_of_memory(error):
                    raise
                tile = self._tile = tile // 2
                logger.warning('Out of memory: queries are now handled in tiles of %d x %d.', tile, tile)
                if feature.device.type == 'cuda':
                    torch.cuda.empty_cache()

    def _tile_side(self) -> int:
        height, width, frames, _ = self._keys.shape
        device = self._keys.device.type
        budget = self.max_memory
        if budget is None:
            budget = torch.cuda.mem_get_info(self._keys.device)[0] // 4 if device == 'cuda' else CPU_MEMORY
        window = self._window if self.protocol.first_window else None
        return tile_side(
            (height, width),
            frames,
            window,
            self._keys.element_size(),
            budget,
            LARGEST_TILE['cuda' if device == 'cuda' else 'cpu'],
        )

    def _remember(self, feature: Tensor, labels: list[Tensor]) -> None:
        births = {group.birth for group in self._groups}
        oldest = self._time + 1 - self.protocol.num_context
        place = next((i for i, frame in enumerate(self._frames) if frame < oldest and frame not in births), None)
        rows = [(self._keys, feature), *zip((group.labels for group in self._groups), labels, strict=True)]
        if place is None:
            grown = [torch.cat([memory, new.permute(1, 2, 0)[:, :, None].to(memory.dtype)], 2) for memory, new in rows]
            self._keys = grown[0]
            for group, memory in zip(self._groups, grown[1:], strict=True):
                group.labels = memory
            self._frames.append(self._time)
        else:
            for memory, new in rows:
                memory[:, :, place] = new.permute(1, 2, 0)
            self._frames[place] = self._time


def _check_grid(feature: Tensor, label: Tensor) -> None:
    if feature.shape[1:] != label.shape[1:]:
        raise InputError(f'Features have grid {tuple(feature.shape[1:])}, labels {tuple(label.shape[1:])}.')


def _is_out_of_memory(error: RuntimeError) -> bool:
    return (
        isinstance(error, torch.cuda.OutOfMemoryError)
        or "can't allocate memory" in str(error)
        or ('not enough memory' in str(error))
    )
