"""Masks and points carried through one's own videos."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import ArrayLike

from stt_mm.apis.both_ways import Direction, carried_ways, numbered
from stt_mm.apis.labels import (
    FrameResult,
    Given,
    MaskLike,
    by_frame,
    by_kind,
    check_fit,
    check_frames,
    collect_given,
    lowest,
)
from stt_mm.apis.outputs import MASK_SUFFIX, check_outputs
from stt_mm.apis.pretrained import build, stated_config
from stt_mm.errors import InputError
from stt_mm.models.frame_labels import Edits
from stt_mm.utils import list_images, write_mask
from stt_mm.utils.checkpoint import existing
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.targets import claim_folder, state_of
from stt_mm.utils.text import json_list
from stt_mm.utils.video import VideoStream, open_video
from stt_mm.visualization import VideoWriter
from stt_mm.visualization.video import rate_of

DOUBTFUL = 10  # frames most in doubt that a run names


Video = str | Path | int | Iterable[np.ndarray] | VideoStream
Masks = Mapping[int, MaskLike] | MaskLike
Points = Mapping[int, ArrayLike] | ArrayLike


class VideoPropagator:
    """Carry masks and points through videos of any length, looking only back.

    Memory does not grow with the video: frames are decoded a few ahead of the one in work, results are handed over or
    written frame by frame.

    Args:
        config: a config file, the name of a shipped one such as ``eval/davis_r18_s8``, or a loaded config. Its protocol
            says how frames become features and how labels move.
        checkpoint: weights of the backbone: a file in any format that ``tools/test.py`` reads, or a name such as
            ``stt_r18_demo``; ``None`` leaves it as the config initialises it.
        device: such as ``cuda:1``; ``None``: the first GPU if there is one.
        options: changes of the config by dotted key, such as ``{'model.propagator.protocol.short_side': 360}``.
        trust_checkpoint: accept a checkpoint that has to be unpickled and so may run code.
        allow_partial: accept a checkpoint that does not fill all of the backbone.
        prefix: what stands before the backbone's names in a checkpoint of no known source.
        allow_other_geometry: accept a checkpoint that was trained in another geometry than the config's.

    Attributes:
        model: the :class:`stt_mm.models.Correspondence`, in evaluation mode.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        options: dict[str, Any] | None = None,
        trust_checkpoint: bool = False,
        allow_partial: bool = False,
        prefix: str | None = None,
        allow_other_geometry: bool = False,
    ) -> None:
        self.model, cfg = build(
            config, checkpoint, device, options, trust_checkpoint, allow_partial, prefix, allow_other_geometry
        )
        # A benchmark may ask for given labels as its files' sizes leave them; here they are what the user gave. Points
        # have no bias.
        protocol = self.model.propagator.protocol
        changes = dict(first_output='given')
        if protocol.points not in (None, 'input'):
            changes |= dict(points='input', point_sigma=None, point_topk=None)
        self.model.propagator.protocol = protocol.change(changes)
        self._network = cfg.model.to_dict()
        self._files = [checkpoint, cfg.filename]

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        device: str | torch.device | None = None,
        options: dict[str, Any] | None = None,
    ) -> 'VideoPropagator':
        """A propagator with the network and the protocol that a file states, or a network that comes with the package.

        Args:
            name_or_path: see :func:`stt_mm.apis.load`.
            device, options: as of the constructor.
        """
        return cls(stated_config(name_or_path), existing(name_or_path), device, options)

    def stream(
        self,
        video: Video,
        masks: Masks | None = None,
        points: Points | None = None,
        max_frames: int | None = None,
        edits: Mapping[int, Edits] | None = None,
        start: int = 0,
        direction: Direction = 'forward',
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[FrameResult]:
        """Results one by one, each computed when it is asked for.

        Several videos may be in work at once. Frames before the first given label are handed through with an empty mask
        and no points, unless labels go backward.

        Args:
            video: a file, a folder of frames, the number of a camera, or uint8 RGB frames; see
                :func:`stt_mm.utils.video.open_video`.
            masks: ids of the objects that are new in a frame, by its number: ``[H, W]`` integers of 0 to 255, or a PNG
                that holds them. Without a number it is frame 0. Part maps are masks whose ids are parts. 255 beside
                other ids is void, as in DAVIS, and becomes background. What is followed already is corrected.
            points: ``[J, 2]``, (x, y) in pixels, of the points that are new in a frame, by its number or for frame 0.
            max_frames: stop after so many frames.
            edits: points that are corrected in a frame, and what is followed no longer from there on, by its number.
            start: number of the first frame that is taken; labels are for frames from there on.
            direction: ``backward`` carries labels to the frames before theirs, ``both`` to both sides, see
                :mod:`stt_mm.apis.both_ways`. The video must be a file, a folder or a list of frames then.
            progress: called with the frames that were done and all that are to be, where these come before the first
                result because labels go backward.

        Raises:
            FileNotFoundError, FrameError: the video or a mask cannot be opened; while reading: a frame is broken.
            ValueError: labels that do not fit each other or the frames (see :mod:`stt_mm.apis.labels`), or that are for
                a frame beyond the end; of a stream whose length is not known, after its last result.
        """
        given = collect_given(masks, points, edits)
        return self._results(video, open_video(video), given, max_frames, start, direction, progress)

    def _results(
        self,
        video: Video,
        stream: VideoStream,
        given: Mapping[int, Given],
        max_frames: int | None,
        start: int,
        direction: Direction,
        progress: Callable[[int, int], object] | None,
    ) -> Iterator[FrameResult]:
        frames = None if direction == 'forward' else numbered(video, stream.name, direction)
        whole = len(frames) if frames is not None else stream.num_frames if stream.exact else None
        stop = check_frames(given, stream.name, start, max_frames, whole)
        if frames is None:
            return self._run(stream, given, start, stop)
        return self._run_passes(stream, frames, given, range(start, stop), direction, progress)

    def __call__(
        self,
        video: Video,
        masks: Masks | None = None,
        points: Points | None = None,
        out: str | Path | None = None,
        mask_dir: str | Path | None = None,
        points_json: str | Path | None = None,
        fps: float | None = None,
        alpha: float = 0.5,
        max_frames: int | None = None,
        edits: Mapping[int, Edits] | None = None,
        start: int = 0,
        direction: Direction = 'forward',
        progress: Callable[[int, int], object] | None = None,
        on_frame: Callable[[FrameResult], bool | None] | None = None,
        overwrite: bool = False,
    ) -> dict[str, Any]:
        """Carry labels through a video and write the results; files are whole also if the run ends early.

        Args:
            video, masks, points, max_frames, edits, start, direction, progress: see :meth:`stream`.
            out: video file (see :class:`stt_mm.visualization.VideoWriter`) with objects and points drawn over the
                frames.
            mask_dir: folder that gets a palette PNG ``<frame name>.png`` per frame, and belongs to this video, masks
                and network; see :mod:`stt_mm.utils.targets`.
            points_json: file that gets a list with ``{"index", "name", "time", "points"}`` per frame: the time is that
                of :class:`FrameResult`, a point is ``[x, y]`` or ``null`` where it is lost.
            fps: of ``out``; ``None``: each frame is shown when it is in the video, or 10 per second where the video
                does not tell.
            alpha: opacity of the objects in ``out``, 0 to 1.
            on_frame: called with each result when it is written; the run ends when it returns true.
            overwrite: remove other masks from ``mask_dir``.

        Returns:
            ``frames``, ``seconds``, ``protocol``, ``doubtful``: (frame, confidence) of the frames most in doubt, and
            the files: ``out``, ``mask_dir``, ``points_json``.

        Raises:
            As :meth:`stream`. ValueError: ``mask_dir`` without masks, ``points_json`` without points, a result that
            would replace something that is read, or a ``mask_dir`` with other files in it. OSError: a file cannot be
            written.
        """
        stream = open_video(video)
        for name, result, labels, what in (
            ('mask_dir', mask_dir, masks, 'masks'),
            ('points_json', points_json, points, 'points'),
        ):
            if result and labels is None:
                raise InputError(f'{name} {result} is for {what}, but none are given: give {what}, or leave it out.')
        sources = [
            *self._files,
            *(mask for mask in by_frame(masks).values() if isinstance(mask, (str, Path))),
            *(list_images(stream.name) if Path(stream.name).is_dir() else [stream.name]),
        ]
        given = collect_given(masks, points, edits)
        frames = f'{f", {max_frames} frames" if max_frames else ""}{f" from {start}" if start else ""}, {direction}'
        digest = f', labels and network {self._digest(given)}' if mask_dir else ''
        owner = f'masks of {state_of(stream.name)}{frames}{digest}'
        check_outputs(sources, out, mask_dir, points_json, owner, overwrite)
        begun, sure = time.perf_counter(), {}
        with ExitStack() as files:
            film = (
                files.enter_context(VideoWriter(out, rate_of(stream.fps, out) if fps is None else fps)) if out else None
            )
            results = self._results(video, stream, given, max_frames, start, direction, progress)
            files.enter_context(closing(results))
            # No file is made before the first frame has passed all checks.
            results = chain([next(results)], results)
            if mask_dir:
                claim_folder(mask_dir, owner, MASK_SUFFIX, sources, overwrite)
            add_row = files.enter_context(json_list(points_json)) if points_json else None
            for result in results:
                if film:
                    film.write(result.picture(alpha), result.time if fps is None else None)
                if mask_dir:
                    write_mask(Path(mask_dir, f'{result.name}.png'), result.mask)
                if add_row:
                    add_row(result.row())
                sure[result.frame_index] = result.least_confidence
                if on_frame and on_frame(result):
                    break
        return dict(
            frames=len(sure),
            seconds=time.perf_counter() - begun,
            doubtful=lowest({frame: value for frame, value in sure.items() if value < 1}, DOUBTFUL),
            protocol=self.model.protocol,
            out=film and film.path,
            mask_dir=mask_dir and Path(mask_dir),
            points_json=points_json and Path(points_json),
        )

    def _digest(self, given: Mapping[int, Given]) -> str:
        """Eight hexadecimal digits that change with the masks that are given, and with what carries them."""
        digest = hashlib.sha256(repr((self._network, self.model.propagator.protocol)).encode())
        for weights in self.model.state_dict().values():
            digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        for frame, labels in given.items():
            if labels.mask is not None:
                digest.update(f'{frame} {labels.mask.shape}'.encode() + labels.mask.tobytes())
            digest.update(repr((frame, sorted(labels.edits.delete))).encode() if labels.edits.delete else b'')
        return digest.hexdigest()[:8]

    def _run(
        self, stream: VideoStream, given: Mapping[int, Given], start: int, stop: int | None
    ) -> Iterator[FrameResult]:
        masks, points, edits = by_kind(given, start)
        waiting: deque[tuple[str, np.ndarray, float | None]] = deque()
        done = 0

        def images() -> Iterator[np.ndarray]:
            for item in islice(stream.frames, start, stop):
                if not waiting and not done:
                    check_fit(given, item[1].shape[:2])
                waiting.append(item)
                yield item[1]

        found = self.model.track(images(), masks, points, edits, with_confidence=True, numbers=count(start))
        with closing(found) as results:
            for done, labels in enumerate(results, start=1):
                name, frame, seconds = waiting.popleft()
                mask, places = labels.mask if masks else None, labels.points if points else None
                sure, hidden = (labels.point_confidence, labels.occluded) if points else (None, None)
                yield FrameResult(
                    start + done - 1, name, frame, mask, places, seconds, labels.confidence or {}, sure, hidden
                )
        if done == 0:
            raise InputError(f'{stream.name} holds no frames{f" from {start} on" if start else ""}.')
        if max(given) >= start + done:
            raise InputError(
                f'A label is given for frame {max(given)}, but {stream.name} ended after {start + done} frames, '
                f'0 to {start + done - 1}. The results of these are complete.'
            )

    def _run_passes(
        self,
        stream: VideoStream,
        frames: Sequence[np.ndarray] | FrameSequence,
        given: Mapping[int, Given],
        span: range,
        direction: Direction,
        progress: Callable[[int, int], object] | None,
    ) -> Iterator[FrameResult]:
        check_fit(given, frames[span.start].shape[:2])
        masks, points, _ = by_kind(given, 0)
        found = carried_ways(self.model, frames, given, span, direction, progress)
        for number, item, kept in zip(span, islice(stream.frames, span.start, span.stop), found, strict=True):
            name, frame, seconds = item
            places, sure, hidden = (kept.points, kept.sure, kept.occluded) if points else (None, None, None)
            mask = kept.ids() if masks else None
            yield FrameResult(number, name, frame, mask, places, seconds, kept.confidence, sure, hidden)
