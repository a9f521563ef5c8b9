"""What all correspondence models share: features of a frame, and labels carried through a video."""

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor

from stt_mm.registry import MODELS


@MODELS.register_module()
class Correspondence(BaseModel):
    """A backbone that is evaluated by label propagation; algorithms that train it derive from this class.

    Args:
        backbone: config of a network with ``stages`` that maps ``[B, 3, H, W]`` to one map per stage.
        data_preprocessor: config of the colour conversion.
        propagator: config of the label propagation; ``None`` if the model is only trained.
        feature_stage: stage whose features are compared; ``None``: the backbone's last one.
        init_cfg: initialisation of the whole model; a backbone has its own.

    Attributes:
        protocol: how the last video was evaluated, from the frames to the masks; ``None`` before.
    """

    def __init__(self,
                 backbone: dict,
                 data_preprocessor: dict,
                 propagator: dict | None = None,
                 feature_stage: str | None = 'res4',
                 init_cfg: dict | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.propagator = None if propagator is None else MODELS.build(propagator)
        self.feature_stage = feature_stage or self.backbone.stages[-1]
        self.protocol: dict | None = None
        if self.feature_stage not in self.backbone.stages:
            raise ValueError(f'feature_stage {self.feature_stage!r} is not among the stages that the backbone returns: '
                             f'{", ".join(self.backbone.stages)}.')

    def extract_feat(self, frames: Tensor) -> dict[str, Tensor]:
        """Features of each stage.

        Args:
            frames: ``[B, 3, H, W]``, normalised.

        Returns:
            stage name to ``[B, d, h, w]``.
        """
        return dict(zip(self.backbone.stages, self.backbone(frames), strict=True))

    def forward(self, inputs: dict | list, data_samples: list | None = None,
                mode: str = 'tensor') -> dict | list | Tensor:
        """MMEngine's entry: ``loss`` in training, ``predict`` for videos, ``tensor`` for features of frames."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return [self.predict(video, sample) for video, sample in zip(inputs, data_samples, strict=True)]
        return self.extract_feat(inputs)[self.feature_stage]

    def loss(self, inputs: dict, data_samples: list | None = None) -> dict[str, Tensor]:
        """Losses of a batch; this class has none."""
        raise TypeError(f'{type(self).__name__} can be evaluated only. To train, choose an algorithm such as STT.')

    @torch.no_grad()
    def feature(self, image: np.ndarray) -> Tensor:
        """Features ``[C, h, w]`` of one uint8 RGB frame ``[H, W, 3]``."""
        return self.extract_feat(self.data_preprocessor.frame(image))[self.feature_stage][0].float()

    def input_protocol(self, video: object) -> dict:
        """How frames became features, for the record of a result."""
        return dict(short_side=getattr(video, 'short_side', None), color=self.data_preprocessor.student_color,
                    feature_stage=self.feature_stage)

    @torch.no_grad()
    def predict(self, video: object, sample: BaseDataElement) -> BaseDataElement:
        """Carry the first mask through a video.

        Args:
            video: lazy sequence of uint8 RGB frames; only one is decoded at a time.
            sample: holds ``first_mask``, uint8 ``[H, W]`` object ids.

        Returns:
            The sample with ``pred_masks``, uint8 ``[T, H, W]`` at the size of the first mask (frame 0 is the given
            one), and ``protocol``.

        Raises:
            RuntimeError: if the model has no propagator.
        """
        if self.propagator is None:
            raise RuntimeError('The model has no propagator: set model.propagator in the config to evaluate it.')
        first = torch.as_tensor(np.asarray(sample.first_mask))
        size = tuple(first.shape)
        masks = np.empty((len(video), *size), dtype=np.uint8)
        masks[0] = first.numpy()
        self.propagator.start_mask(self.feature(video[0]), first)
        for index in range(1, len(video)):
            masks[index] = self.propagator.step_mask(self.feature(video[index]), size).cpu().numpy()
        sample.pred_masks = masks
        self.protocol = {**self.propagator.protocol, **self.input_protocol(video)}
        sample.set_metainfo(dict(protocol=self.protocol))
        return sample
