"""Feature maps of frames."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import ArrayLike
from torch import Tensor

from stt_mm.apis.pretrained import load
from stt_mm.errors import InputError
from stt_mm.ops import image_to_input
from stt_mm.ops.devices import full_float32
from stt_mm.utils.checks import check_count, is_iterable


class FeatureExtractor:
    """The maps of a frozen network, of frames as they are.

    Frames are seen at their own size, padded where the network's protocol pads, and in its colours. No two of them are
    mixed: each has the maps that it has alone, whatever the batch, up to rounding.

    Args:
        name_or_path, config, device: see :func:`stt_mm.apis.load`.
        stages: names of the maps that are wanted, such as ``('res3', 'res4')``; ``None``: all up to the one that is
            compared.
        batch_size: frames that are on the device at a time.

    Attributes:
        model: the :class:`stt_mm.models.Correspondence`.
        stages: names of the maps, lowest first.
        channels: of each map, by its stage.
        strides: pixels of a frame per cell of each map, by its stage.

    Raises:
        ValueError: as :func:`stt_mm.apis.load`, or the network has no such stage.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        stages: Sequence[str] | None = None,
        config: str | Path | Config | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 8,
    ) -> None:
        check_count('batch_size', batch_size)
        if stages is not None and (isinstance(stages, str) or not stages):
            raise InputError(f"stages must be names such as ('res3', 'res4'), or None for all, got {stages!r}.")
        self.model = load(name_or_path, config, device)
        self.batch_size = batch_size
        side = 224  # of a frame that tells channels and strides
        with torch.no_grad():
            maps = self._maps([torch.zeros(side, side, 3, dtype=torch.uint8)])
        if unknown := [stage for stage in stages or () if stage not in maps]:
            raise InputError(f'{name_or_path} has no stage {unknown[0]!r}. Its stages: {", ".join(maps)}.')
        self.stages = tuple(stage for stage in maps if stages is None or stage in stages)
        self.channels = {stage: maps[stage].shape[1] for stage in self.stages}
        self.strides = {stage: round(side / maps[stage].shape[2]) for stage in self.stages}

    @torch.no_grad()
    def __call__(self, frames: ArrayLike | Tensor | Iterable[ArrayLike | Tensor]) -> dict[str, Tensor]:
        """Maps of all frames.

        Args:
            frames: RGB frames of one size: an array or tensor uint8 ``[T, H, W, 3]``, or any iterable of frames
                ``[H, W, 3]`` or Pillow images, such as a :class:`stt_mm.utils.FrameSequence`.

        Returns:
            Stage to float32 ``[T, C, h, w]``, on the device of the network.

        Raises:
            ValueError: no frames, frames of several sizes, or what is no RGB frame.
        """
        if isinstance(frames, str | Path | Mapping) or not is_iterable(frames):
            raise InputError(
                f'frames must be uint8 [T, H, W, 3] or a list of RGB frames, got {type(frames).__name__}. One frame is '
                '[frame]; a video file or folder is stt_mm.utils.FrameSequence(path).'
            )
        found: list[dict[str, Tensor]] = []
        batch: list[Tensor] = []
        for number, frame in enumerate(frames):
            frame = _frame(frame, number)
            if batch and frame.shape != batch[0].shape:
                raise InputError(
                    f'Frame {number} is {frame.shape[0]} x {frame.shape[1]} (height x width), those before it '
                    f'{batch[0].shape[0]} x {batch[0].shape[1]}. Give frames of one size.'
                )
            if len(batch) == self.batch_size:
                found.append(self._wanted(batch))
                batch = []
            batch.append(frame)
        if not batch:
            raise InputError('There are no frames: give at least one, uint8 [T, H, W, 3].')
        found.append(self._wanted(batch))
        return {stage: torch.cat([maps[stage] for maps in found]) for stage in self.stages}

    def _wanted(self, batch: list[Tensor]) -> dict[str, Tensor]:
        maps = self._maps(batch)
        return {stage: maps[stage].float() for stage in self.stages}

    @full_float32()
    def _maps(self, batch: list[Tensor]) -> dict[str, Tensor]:
        if self.model.data_preprocessor.device.type == 'cpu':
            # On a GPU, colours are looked up in a table of all, which costs a CPU more than a short video.
            colors = self.model.input_colors
            batch = [torch.cat([image_to_input(frame.cpu().numpy(), color) for color in colors]) for frame in batch]
        frames = torch.stack([self.model.network_input(frame) for frame in batch])
        return self.model.extract_feat(frames.contiguous(memory_format=torch.channels_last))


def _frame(frame: ArrayLike | Tensor, number: int) -> Tensor:
    """A frame as a tensor uint8 ``[H, W, 3]``."""
    if hasattr(frame, 'convert'):  # of Pillow, whatever its mode
        frame = frame.convert('RGB')
    if not isinstance(frame, Tensor):
        frame = np.asarray(frame)
    kind, shape = str(frame.dtype).removeprefix('torch.'), list(frame.shape)
    if kind != 'uint8' or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise InputError(f'Frame {number} must be uint8 [H, W, 3], RGB, got {kind} {shape}.{_advice(kind, shape)}')
    # A copy of what is not writeable, as Pillow's images are: PyTorch has no such tensors.
    return frame if isinstance(frame, Tensor) else torch.from_numpy(np.require(frame, requirements=['C', 'W']))


def _advice(kind: str, shape: list[int]) -> str:
    """What to do about the most common mistakes."""
    if len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
        return ' Its channels come first: permute(1, 2, 0) of a tensor, transpose(1, 2, 0) of an array, puts them last.'
    if len(shape) == 2 and shape[1] == 3:
        return ' One frame alone is given as [frame].'
    return ' Floats of 0 to 1 are (255 * frame).round() in uint8.' if kind.startswith(('float', 'bfloat')) else ''
