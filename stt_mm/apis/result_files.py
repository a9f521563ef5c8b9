"""Results of one's own video in the files that other programs read."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from stt_mm.apis.labels import FrameResult
from stt_mm.apis.outputs import check_outputs
from stt_mm.errors import InputError
from stt_mm.utils.mask_file import MaskFileWriter
from stt_mm.utils.point_file import PointFileWriter
from stt_mm.utils.targets import check_distinct


class ResultFiles:
    """Writes the masks of a video as a COCO file, its points as a TAP-Vid file; a context manager.

    Both are made when it is left, also after an error; see :class:`stt_mm.utils.mask_file.MaskFileWriter` and
    :class:`stt_mm.utils.point_file.PointFileWriter`. It keeps run lengths and points of all frames until then.

    Args:
        masks_json: the COCO file; ``None`` for none.
        points_npz: the TAP-Vid file; ``None`` for none.
        sources: files that are read, which are not replaced.
        others: further files that are written, by what they hold.
        images: the file name of the image of a frame, by the name of the frame; otherwise it is called ``<name>.jpg``.

    Raises:
        ValueError: a file is one that is read, or two are the same. OSError: a folder cannot be written to.
    """

    def __init__(
        self,
        masks_json: str | Path | None = None,
        points_npz: str | Path | None = None,
        sources: Iterable[str | Path | None] = (),
        others: Mapping[str, str | Path] | None = None,
        images: Mapping[str, str] | None = None,
    ) -> None:
        named = (('the masks as COCO', masks_json), ('the points as TAP-Vid', points_npz))
        files = {what: path for what, path in named if path is not None}
        check_distinct(files | dict(others or {}))
        check_outputs(sources, masks_json, None, points_npz, owner='')
        self._images = dict(images or {})
        self._masks = None if masks_json is None else MaskFileWriter(masks_json)
        self._points = None if points_npz is None else PointFileWriter(points_npz)
        self._open = ExitStack()

    def __enter__(self) -> 'ResultFiles':
        for writer in (self._masks, self._points):
            if writer is not None:
                self._open.enter_context(writer)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, result: FrameResult) -> None:
        """Add the result of the next frame.

        Raises:
            ValueError: the run has no masks, or no points, to be written.
        """
        if self._masks is not None:
            if result.mask is None:
                raise InputError(f'{self._masks.path} is for masks, but none were given: give masks, or leave it out.')
            file_name = self._images.get(result.name, f'{result.name}.jpg')
            self._masks.add(file_name, result.mask, result.frame_index)
        if self._points is not None:
            if result.points is None:
                raise InputError(f'{self._points.path} is for points, but none were given: give some, or leave it out.')
            self._points.add(result.points, result.frame.shape[:2], result.occluded)
