"""Frames of a video, from a folder of images, a video file or memory, decoded when they are asked for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.images import FrameError, decode_image, read_image
from stt_mm.utils.video import VideoReader
from stt_mm.utils.video_file import FrameIndex


class FrameSequence:
    """All frames of one video; ``sequence[t]`` decodes frame ``t`` as uint8 ``[H, W, 3]`` RGB.

    Picklable. Deliberately no ``collections.abc.Sequence``: MMEngine's collate functions would take it apart.

    Args:
        source: image paths in order, or the path of one video file.
        name: how errors call the video; the folder or file name if ``None``.
        index: of a video file, if known (see :class:`VideoReader`).
        images: what there is in memory of the images, in their place: uint8 ``[H, W, 3]`` RGB, or the bytes of a file.
            The paths then say where they are from, and the frames are numbered.
        size: (height, width) that each frame is resized to, by Lanczos' filter; ``None``: as stored.

    Attributes:
        names: one name per frame: the stem of its file, or a five-digit number in a video file.
    """

    def __init__(
        self,
        source: Sequence[str | Path] | str | Path,
        name: str | None = None,
        index: FrameIndex | None = None,
        images: Sequence[np.ndarray | bytes] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._reader: VideoReader | None = None
        self._paths: list[str] = []
        self._images = images
        self._size = size
        if isinstance(source, (str, Path)):
            self._reader = VideoReader(source, index)
            self.name = name or Path(source).stem
            self.names = [f'{t:05d}' for t in range(len(self._reader))]
        else:
            self._paths = [str(path) for path in source]
            if not self._paths:
                raise InputError(f'Video {name or "without a name"} has no frames.')
            self.name = name or Path(self._paths[0]).parent.name
            self.names = [Path(path).stem if images is None else f'{t:05d}' for t, path in enumerate(self._paths)]
        self._original_size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f'Frame {index} asked of video {self.name} with {len(self)} frames.')
        try:
            image = self._read(index)
        except FileNotFoundError as error:
            raise MissingInputError(f'Video {self.name}: {error}') from error
        except FrameError as error:
            raise FrameError(f'Video {self.name}: {error}') from error
        size = image.shape[:2]
        if self._original_size is None:
            self._original_size = size
        if size != self._original_size:
            raise FrameError(
                f'Video {self.name}: {self.path(index)} is {size[0]}x{size[1]} (height x width) at frame {index}, the '
                f'frames read before it are {self._original_size[0]}x{self._original_size[1]}. All frames of a video '
                'must have one size; scale or cut it before.'
            )
        if self._size in (None, size):
            return image
        return np.array(Image.fromarray(image).resize(self._size[::-1], Image.Resampling.LANCZOS))

    def _read(self, index: int) -> np.ndarray:
        if self._reader:
            return self._reader.read(index)
        if self._images is None:
            return read_image(self._paths[index])
        image = self._images[index]
        # Networks take arrays that can be written to.
        return decode_image(image, self._paths[index]) if isinstance(image, bytes) else np.array(image)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.name!r}, {len(self)} frames)'

    @property
    def original_size(self) -> tuple[int, int]:
        """(height, width) of each frame; decodes the first one if none was decoded yet."""
        if self._size is not None:
            return self._size
        if self._original_size is None:
            self[0]
        return self._original_size

    def path(self, index: int) -> str:
        """The file that holds frame ``index``."""
        return self._reader.path if self._reader else self._paths[index]
