"""What all correspondence models share: features of a frame, and labels carried through a video."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.models.backbones import Backbone, LoadedBackbone, geometry_of
from stt_mm.models.frame_labels import Edits, FrameLabels, PointTracks
from stt_mm.models.propagator import LabelPropagator
from stt_mm.models.tracker import Pending, Tracker
from stt_mm.ops import bytes_to_input, checked_input, image_to_input, resize_frame
from stt_mm.ops.color import Color
from stt_mm.ops.devices import full_float32, in_turn
from stt_mm.registry import MODELS
from stt_mm.utils.geometry import check_geometry, differences
from stt_mm.utils.video import prefetch
from stt_mm.utils.weights import LoadReport, load_backbone

NETWORK = 'network'  # the colours that a network states


@MODELS.register_module()
class Correspondence(BaseModel):
    """A backbone that is evaluated by label propagation; algorithms that train it derive from this class.

    Args:
        backbone: config of a :class:`stt_mm.models.backbones.Backbone`; ``None``: a subclass has networks of its own,
            and an ``extract_feat`` that uses them.
        data_preprocessor: config of the colour conversion in training; evaluation goes by the protocol.
        propagator: config of the label propagation; ``None`` if the model is only trained.
        feature_stage: stage whose features are compared; ``None``: the backbone's last one.
        init_cfg: initialisation of the whole model; a backbone has its own.

    Raises:
        ValueError: if the backbone has no such stage, or the protocol wants other colours than the training, or leaves
            them to a backbone that states none.
    """

    def __init__(
        self,
        backbone: dict | None,
        data_preprocessor: dict | None = None,
        propagator: dict | None = None,
        feature_stage: str | None = 'res4',
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = None if backbone is None else MODELS.build(backbone)
        self.propagator = None if propagator is None else MODELS.build(propagator)
        if self.backbone is not None and not isinstance(self.backbone, Backbone):
            raise InputError(
                f'{type(self.backbone).__name__} is no backbone: it needs stages, the names of the maps that '
                'it returns. See docs/backbones.md.'
            )
        self.feature_stage = feature_stage or self.backbone.stages[-1]
        self._reported: set[str] = set()
        self.other_geometries: list[dict[str, Any]] = []
        if self.backbone is not None and self.feature_stage not in self.backbone.stages:
            raise InputError(
                f'feature_stage {self.feature_stage!r} is not among the stages that the backbone returns: '
                f'{", ".join(self.backbone.stages)}.'
            )
        if self.propagator is not None and self.backbone is not None:
            color_of(self.backbone, self.propagator.protocol.color)
        trained = getattr(self.data_preprocessor, 'student_color', None)
        if self.propagator is not None and trained not in (None, self.propagator.protocol.color):
            raise InputError(
                f'The network is trained on {trained}, the protocol {self.propagator.protocol.name} '
                f'evaluates on {self.propagator.protocol.color}. Set model.propagator.protocol.color='
                f'{trained!r}.'
            )

    def extract_feat(self, frames: Tensor) -> dict[str, Tensor]:
        """Features of each stage.

        Args:
            frames: ``[B, 3, H, W]``, normalised.

        Returns:
            stage name to ``[B, d, h, w]``.
        """
        return dict(zip(self.backbone.stages, self.backbone(frames), strict=True))

    @property
    def geometry(self) -> dict[str, Any] | None:
        """What decides the features besides the weights: geometry of the backbone, stage and colours.

        Training writes it into its checkpoints; ``None`` for a backbone that has none.
        """
        protocol = None if self.propagator is None else self.propagator.protocol
        color = protocol.color if protocol is not None else getattr(self.data_preprocessor, 'student_color', None)
        return geometry_of(self.backbone, self.feature_stage, color)

    def note_geometry(self, trained: Mapping[str, Any] | None, used: Mapping[str, Any] | None) -> None:
        """Keep another geometry than the one used for the record of results."""
        if differences(trained, used):
            self.other_geometries.append(dict(trained))

    def networks(self) -> list[tuple[nn.Module, dict[str, Any] | None]]:
        """Each network that is evaluated, and its geometry."""
        return [] if self.backbone is None else [(self.backbone, self.geometry)]

    def forward(
        self, inputs: dict | list, data_samples: list | None = None, mode: str = 'tensor'
    ) -> dict | list | Tensor:
        """MMEngine's entry: ``loss`` in training, ``predict`` for videos, ``tensor`` for features of frames."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return [self.predict(video, sample) for video, sample in zip(inputs, data_samples, strict=True)]
        return self.extract_feat(checked_input(inputs, next(self.parameters(), None)))[self.feature_stage]

    def loss(self, inputs: dict, data_samples: list | None = None) -> dict[str, Tensor]:
        """Losses of a batch; this class has none."""
        raise InputError(f'{type(self).__name__} can be evaluated only. To train, choose an algorithm such as STT.')

    @property
    def protocol(self) -> dict[str, Any] | None:
        """How videos are evaluated, from their frames to the result, for its record; ``None`` without a propagator.

        Weights that were trained in other geometries, and accepted, leave these in ``trained_geometry``.
        """
        if self.propagator is None:
            return None
        other = dict(trained_geometry=self.other_geometries) if self.other_geometries else {}
        record = dict(self.propagator.protocol.record(), feature_stage=self.feature_stage, **other)
        if record['color'] == NETWORK and self.backbone is not None:
            record['statistics'] = [list(values) for values in self.input_colors[0]]
        return record

    @property
    def input_colors(self) -> tuple[Color, ...]:
        """Colours of the frames, one after the other in the channels of the network's input."""
        return (color_of(self.backbone, self._propagator().protocol.color),)

    def prepare(self, image: np.ndarray) -> Tensor:
        """One uint8 RGB frame ``[H, W, 3]`` at the size that the protocol says, on the host.

        Returns:
            float32 ``[3, h, w]``, or for a GPU, which makes the same of it, uint8 ``[h, w, 3]`` in pinned memory.
        """
        protocol = self._propagator().protocol
        if protocol.data_size not in (None, image.shape[:2]):
            (height, width), (made_high, made_wide) = image.shape[:2], protocol.data_size
            self._warn_once(
                f'The frames are {height} x {width} (height x width), the numbers of the protocol {protocol} were made '
                f'on a copy of the data at {made_high} x {made_wide}: see tools/dataset/make_davis_480_880.py.'
            )
        image = resize_frame(image, protocol.input_size(image.shape[:2]), protocol.resize)
        if self.data_preprocessor.device.type == 'cuda':
            return torch.from_numpy(image).pin_memory()
        return self._in_colors(lambda color: image_to_input(image, color))

    @torch.no_grad()
    @full_float32()
    def feature(self, image: np.ndarray | Tensor) -> Tensor:
        """Features ``[C, h, w]`` of one uint8 RGB frame ``[H, W, 3]``, or of what :meth:`network_input` takes."""
        frame = self.network_input(image)[None].contiguous(memory_format=torch.channels_last)
        feature = self.extract_feat(frame)[self.feature_stage][0]
        stride, protocol = round(frame.shape[2] / feature.shape[1]), self._propagator().protocol
        if stride != protocol.stride:
            self._warn_once(
                f'The features have stride {stride}, the numbers of the protocol {protocol} are meant for stride '
                f'{protocol.stride}.'
            )
        return feature

    @full_float32()
    def network_input(self, image: np.ndarray | Tensor) -> Tensor:
        """What the network is shown of a frame, as :meth:`feature` takes it: ``[C, h, w]``, on the model's device."""
        frame = image if isinstance(image, Tensor) else self.prepare(image)
        frame = frame.to(self.data_preprocessor.device, non_blocking=True)
        if frame.dtype == torch.uint8:
            frame = self._in_colors(lambda color, pixels=frame: bytes_to_input(pixels, color))
        height, width = self._propagator().protocol.padded(tuple(frame.shape[1:]))
        right, below = width - frame.shape[2], height - frame.shape[1]
        return F.pad(frame, (0, right, 0, below)) if right or below else frame

    def track(
        self,
        frames: Iterable[np.ndarray],
        masks: Mapping[int, np.ndarray],
        points: Mapping[int, np.ndarray],
        edits: Mapping[int, Edits] | None = None,
        with_scores: bool = False,
        with_confidence: bool = False,
        numbers: Iterable[int] | None = None,
    ) -> Iterator[FrameLabels]:
        """Labels of one frame after the other; they may be given in any frame.

        Args:
            frames: uint8 RGB ``[H, W, 3]``, read by a thread of its own, two ahead of the one in work.
            masks: ids ``[H, W]`` of the objects that are new or corrected in a frame, by its number from 0.
            points: ``[J, 2]``, (x, y) in pixels of the points that are new in a frame, and edits: what else changes.
            numbers: by which messages call the frames; ``None``: from 0.
            with_scores, with_confidence: whether the strength of each object, and the confidence of all, is wanted.

        Returns:
            One :class:`FrameLabels` per frame, computed when asked for; on a GPU one frame is in work beyond it.

        Raises:
            RuntimeError: no propagator. ValueError: labels that do not fit, or features that are not finite.
        """
        # Several videos may be in work at once.
        tracker = Tracker(copy.deepcopy(self._propagator()), with_scores, with_confidence, numbers)
        first, edits = min([*masks, *points]), edits or {}

        def steps() -> Iterator[Pending]:
            with closing(prefetch((frame.shape[:2], self.prepare(frame)) for frame in frames)) as prepared:
                for time, (size, image) in enumerate(prepared):
                    frame = self.network_input(image) if time >= first else None
                    feature = None if frame is None else self.feature(frame)
                    yield tracker.step(feature, size, masks.get(time), points.get(time), edits.get(time), frame)

        return in_turn(steps())

    @torch.no_grad()
    def predict(self, video: Sequence[np.ndarray], sample: BaseDataElement) -> BaseDataElement:
        """Carry the given labels through a video.

        Args:
            video: lazy sequence of uint8 RGB frames.
            sample: holds ``given_masks`` (frame number to uint8 ``[H, W]`` ids of the objects that first appear there)
                or ``given_points`` (frame number to float ``[J, 2]``, pixels), or both; without points there must be
                masks for frame 0. With the metainfo ``with_scores=True`` the strength of each object is asked for too;
                with ``both_ways=True`` points go to the frames before theirs as well, in a second pass from the end.

        Returns:
            The sample with ``protocol``, and ``pred_masks``, uint8 ``[T, H, W]``, or ``pred_points``, float32
            ``[T, J, 2]``, (-1, -1) where a point is lost or not yet given, or both; with points, under a protocol that
            asks for it, ``pred_occluded``, bool ``[T, J]``. ``pred_scores`` has one dict per frame, from the id to the
            mean value with which it won its pixels. Points are in the order of the frames that they were given in.

        Raises:
            RuntimeError, ValueError: as :meth:`track`; no label to begin with, or one that the protocol cannot read.
        """
        protocol = self._propagator().protocol
        masks, points = sample.get('given_masks', {}), sample.get('given_points', {})
        if not points and 0 not in masks:
            raise InputError(f'There must be masks for frame 0, or points, got masks for frames {sorted(masks)}.')
        if points and protocol.points is None:
            raise InputError(
                f'The protocol {protocol.name} is for masks. To follow points choose one for JHMDB, '
                "such as model.propagator.protocol.name=stt_jhmdb_s8, or set protocol.points='image'."
            )
        frames, with_scores = (video[t] for t in range(len(video))), sample.get('with_scores', False)
        found = list(self.track(frames, masks, points, with_scores=with_scores))
        if masks:
            sample.pred_masks = np.stack([labels.mask for labels in found])
            if with_scores:
                sample.pred_scores = [labels.scores for labels in found]
        if points:
            tracks = PointTracks.of(found)
            if sample.get('both_ways', False) and any(points):
                turned = {len(video) - 1 - t: points[t] for t in points}
                back = list(self.track((video[t] for t in reversed(range(len(video)))), {}, turned))
                tracks = tracks.joined(PointTracks.of(back), points)
            sample.pred_points = tracks.points
            if tracks.occluded is not None:
                sample.pred_occluded = tracks.occluded
        sample.set_metainfo(dict(protocol=self.protocol))
        return sample

    def _in_colors(self, convert: Callable[[Color], Tensor]) -> Tensor:
        """Channels of the network's input, each colour converted once."""
        colors = self.input_colors
        inputs = {color: convert(color) for color in set(colors)}
        # One alone is not copied: convolutions round differently in another memory layout.
        return inputs[colors[0]] if len(colors) == 1 else torch.cat([inputs[color] for color in colors])

    def _warn_once(self, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            MMLogger.get_current_instance().warning(text)

    def _propagator(self) -> LabelPropagator:
        if self.propagator is None:
            raise RuntimeError('The model has no propagator: set model.propagator in the config to evaluate it.')
        return self.propagator


def color_of(network: nn.Module | None, color: Color) -> Color:
    """The colours that a network sees: those that are named, or if these are ``network`` what it says of itself.

    Raises:
        ValueError: it does not say.
    """
    if color != NETWORK:
        return color if isinstance(color, str) else tuple(map(tuple, color))
    statistics = getattr(network, 'statistics', None)
    if statistics is None:
        raise InputError(
            f"color='network' takes the mean and deviation that the network states, and {type(network).__name__} "
            "states none. Name them: protocol=dict(..., color=((R, G, B), (R, G, B))), or 'rgb' for those of ImageNet."
        )
    return tuple(tuple(map(float, values)) for values in statistics)


def load_for_evaluation(
    model: BaseModel,
    checkpoint: str | Path | None,
    trust: bool = False,
    allow_partial: bool = False,
    prefix: str | None = None,
    allow_other_geometry: bool = False,
) -> LoadReport | None:
    """Weights of a model that is to be evaluated.

    Args:
        model: any with a ``backbone``; a :class:`Correspondence` knows its geometry.
        checkpoint: file that fills the backbone; ``None``: as the config initialises the model.
        trust, allow_partial, prefix: see :func:`stt_mm.utils.weights.load_backbone`.
        allow_other_geometry: accept weights that were trained in another geometry than that of this model.

    Returns:
        What was filled; ``None`` without a checkpoint.

    Raises:
        FileNotFoundError, ValueError: the file does not exist or cannot be used, or there is not one backbone.
    """
    if checkpoint is None:
        model.init_weights()
        for network, geometry in model.networks() if isinstance(model, Correspondence) else ():
            if isinstance(network, LoadedBackbone) and network.report is not None:
                check_geometry(network.checkpoint, network.report.geometry, geometry, allow_other_geometry)
                model.note_geometry(network.report.geometry, geometry)
        return None
    backbone = getattr(model, 'backbone', None)
    if backbone is None or not backbone.state_dict():
        what = 'several networks' if hasattr(model, 'backbones') else 'no backbone with weights'
        raise InputError(
            f'{type(model).__name__} has {what}, and {checkpoint} is one file: pass "none" in its place '
            '(checkpoint=None), and name files in the init_cfg of each network.'
        )
    geometry = getattr(model, 'geometry', None)
    report = load_backbone(backbone, checkpoint, trust, allow_partial, prefix, geometry, allow_other_geometry)
    if isinstance(model, Correspondence):
        model.note_geometry(report.geometry, geometry)
    return report
