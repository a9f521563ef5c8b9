"""What all correspondence models share: features of a frame, and labels carried through a video."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.models.propagator import LabelPropagator
from stt_mm.ops import image_to_input, keypoints_to_label, label_to_keypoints
from stt_mm.registry import MODELS
from stt_mm.utils.geometry import check_geometry, differences
from stt_mm.utils.prefetch import prefetch
from stt_mm.utils.weights import LoadReport, load_backbone


@MODELS.register_module()
class Correspondence(BaseModel):
    """A backbone that is evaluated by label propagation; algorithms that train it derive from this class.

    Args:
        backbone: config of a network with ``stages`` that maps ``[B, 3, H, W]`` to one map per stage; ``None``: a
            subclass has networks of its own, and an ``extract_feat`` that uses them.
        data_preprocessor: config of the colour conversion in training; evaluation goes by the protocol.
        propagator: config of the label propagation; ``None`` if the model is only trained.
        feature_stage: stage whose features are compared; ``None``: the backbone's last one.
        init_cfg: initialisation of the whole model; a backbone has its own.

    Raises:
        ValueError: if the backbone has no such stage, or the protocol wants other colours than the training.
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
        self.feature_stage = feature_stage or self.backbone.stages[-1]
        self._reported: set[int] = set()
        self.other_geometries: list[dict[str, Any]] = []
        if self.backbone is not None and self.feature_stage not in self.backbone.stages:
            raise InputError(
                f'feature_stage {self.feature_stage!r} is not among the stages that the backbone returns: '
                f'{", ".join(self.backbone.stages)}.'
            )
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
        return self.extract_feat(inputs)[self.feature_stage]

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
        return dict(self.propagator.protocol.record(), feature_stage=self.feature_stage, **other)

    def prepare(self, image: np.ndarray) -> Tensor:
        """Network input ``[3, h, w]``, on the CPU, of one uint8 RGB frame ``[H, W, 3]``, as the protocol says."""
        protocol = self._propagator().protocol
        height, width = protocol.input_size(image.shape[:2])
        if (height, width) != image.shape[:2]:
            image = cv2.resize(image, (width, height))
        return image_to_input(image, protocol.color)

    @torch.no_grad()
    def feature(self, image: np.ndarray | Tensor) -> Tensor:
        """Features ``[C, h, w]`` of one uint8 RGB frame ``[H, W, 3]``, or of the result of :meth:`prepare`."""
        frame = image if isinstance(image, Tensor) else self.prepare(image)
        frame = frame[None].to(self.data_preprocessor.device).contiguous(memory_format=torch.channels_last)
        feature = self.extract_feat(frame)[self.feature_stage][0]
        self._report_stride(round(frame.shape[2] / feature.shape[1]))
        return feature

    @torch.no_grad()
    def predict(self, video: object, sample: BaseDataElement) -> BaseDataElement:
        """Carry the given labels through a video.

        Args:
            video: lazy sequence of uint8 RGB frames; two are decoded ahead of the one in work.
            sample: holds ``given_masks`` (frame number to uint8 ``[H, W]`` ids of the objects that first appear there;
                0 must be among them) or ``given_keypoints`` (float ``[J, 2]``, pixels of frame 0). With the metainfo
                ``with_scores=True`` the strength of each object is asked for too.

        Returns:
            The sample with ``protocol`` and either ``pred_masks``, uint8 ``[T, H, W]`` at the size of the given masks,
            or ``pred_keypoints``, float32 ``[T, J, 2]``, (-1, -1) where a joint is lost. ``pred_scores`` has one dict
            per frame, from the id to the mean value with which it won its pixels.

        Raises:
            RuntimeError: if the model has no propagator.
            ValueError: no label for frame 0, or one that the protocol cannot read.
        """
        self._propagator()
        features = (self.feature(frame) for frame in prefetch(self.prepare(video[t]) for t in range(len(video))))
        if 'given_keypoints' in sample:
            keypoints = torch.as_tensor(sample.given_keypoints, device=self.data_preprocessor.device)
            joints = self._joints(features, keypoints, video[0].shape[:2])
            sample.pred_keypoints = np.stack([joint.cpu().numpy() for joint in joints])
        else:
            with_scores = sample.get('with_scores', False)
            found = list(self._masks(features, sample.given_masks, with_scores))
            sample.pred_masks = np.stack([mask for mask, _ in found])
            if with_scores:
                sample.pred_scores = [scores for _, scores in found]
        sample.set_metainfo(dict(protocol=self.protocol))
        return sample

    def _report_stride(self, stride: int) -> None:
        protocol = self._propagator().protocol
        if stride != protocol.stride and stride not in self._reported:
            self._reported.add(stride)
            MMLogger.get_current_instance().warning(
                'The features have stride %d, the numbers of the protocol %s are meant for stride %d.',
                stride,
                protocol,
                protocol.stride,
            )

    def _propagator(self) -> LabelPropagator:
        if self.propagator is None:
            raise RuntimeError('The model has no propagator: set model.propagator in the config to evaluate it.')
        return self.propagator

    def _joints(self, features: Iterator[Tensor], keypoints: Tensor, image_size: tuple[int, int]) -> Iterator[Tensor]:
        """``[J, 2]`` per frame; the first one too is read back from its heat maps, as the released code does."""
        protocol = self.propagator.protocol
        if protocol.keypoints is None:
            raise InputError(
                f'The protocol {protocol.name} is for masks. To follow joints choose one for JHMDB, '
                "such as model.propagator.protocol.name=stt_jhmdb_s8, or set protocol.keypoints='stt'."
            )
        first, codec, input_size = next(features), protocol.keypoints, protocol.input_size(image_size)
        self.propagator.start(first, keypoints_to_label(keypoints, image_size, input_size, first.shape[1:], codec))
        grid = input_size if codec == 'stt' else first.shape[1:]
        yield label_to_keypoints(keypoints_to_label(keypoints, image_size, input_size, grid, codec), image_size, codec)
        for feature in features:
            yield label_to_keypoints(self.propagator.step(feature), image_size, codec)

    def _masks(
        self, features: Iterator[Tensor], given: dict[int, np.ndarray], with_scores: bool
    ) -> Iterator[tuple[np.ndarray, dict[int, float]]]:
        """uint8 ``[H, W]`` per frame, and the mean winning value of each id if wanted."""
        if 0 not in given:
            raise InputError(f'given_masks must hold a mask for frame 0, got masks for frames {sorted(given)}.')
        mask = self.propagator.start_mask(next(features), torch.as_tensor(np.asarray(given[0])))
        value = torch.ones(mask.shape)
        yield mask.cpu().numpy(), _strengths(mask, value) if with_scores else {}
        for time, feature in enumerate(features, start=1):
            mask, value = self.propagator.to_mask(self.propagator.step(feature))
            if time in given:
                mask = self.propagator.add_mask(time, torch.as_tensor(np.asarray(given[time])), mask)
            yield mask.cpu().numpy(), _strengths(mask, value) if with_scores else {}


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
            if getattr(network, 'report', None) is not None:
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


def geometry_of(network: nn.Module, stage: str, color: str | None) -> dict[str, Any] | None:
    """Geometry of a network of which one stage is evaluated in some colours; ``None`` if it has none."""
    if not hasattr(network, 'geometry'):
        return None
    # DINO's deviation of red, 0.228 instead of 0.229, makes no other colours.
    return dict(network.geometry(), stage=stage, **({} if color is None else dict(color=color.removesuffix('_dino'))))


def _strengths(mask: Tensor, value: Tensor) -> dict[int, float]:
    """Mean of ``value`` over the pixels of each object id."""
    ids, where, pixels = mask.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(ids), dtype=torch.float64, device=mask.device).index_add_(
        0, where.flatten(), value.to(mask.device).double().flatten()
    )
    return {int(number): float(mean) for number, mean in zip(ids, sums / pixels, strict=True) if number}
