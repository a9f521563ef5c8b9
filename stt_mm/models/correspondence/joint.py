"""Joint spatial and temporal learning: one backbone, one step, images and videos."""

from collections.abc import Sequence
from contextlib import nullcontext

from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.models.batch_statistics import BatchStatistics
from stt_mm.models.correspondence.stt import STT
from stt_mm.registry import MODELS
from stt_mm.utils import check_number


class StageView(nn.Module):
    """A backbone of which only some stages are seen, in the form that mmpretrain's self-supervisors expect.

    Args:
        backbone: maps ``[B, 3, H, W]`` to one map per name in ``stages``.
        stages: the names that are returned, lowest first.
    """

    def __init__(self, backbone: nn.Module, stages: Sequence[str]) -> None:
        super().__init__()
        self.network = backbone
        self.stages = tuple(stages)
        self.out_indices = tuple(int(stage.removeprefix('res')) - 2 for stage in stages)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """The maps of the chosen stages."""
        maps = dict(zip(self.network.stages, self.network(frames), strict=True))
        return tuple(maps[stage] for stage in self.stages)


class JointDataPreprocessor(BaseDataPreprocessor):
    """One preprocessor for each kind of batch.

    Args:
        video: for clips, and for the videos of an evaluation.
        image: for views of images.
    """

    def __init__(self, video: BaseDataPreprocessor, image: BaseDataPreprocessor) -> None:
        super().__init__()
        self.video = video
        self.image = image
        self.student_color = video.student_color

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a step.

        Args:
            data: in training ``video`` and ``image``, one batch each, as :class:`JointIterLoop` hands them over.
            training: whether it is a step of training or videos to evaluate.

        Returns:
            In training ``inputs``, with the prepared batch of both kinds under their names.

        Raises:
            ValueError: if one kind is missing.
        """
        if not training:
            return self.video(data)
        if not {'video', 'image'} <= data.keys():
            raise InputError(
                f'Joint trains on one batch of videos and one of images per step, got {", ".join(data)}. '
                "Set train_cfg=dict(type='JointIterLoop', image_dataloader=...)."
            )
        return dict(inputs={kind: getattr(self, kind)(data[kind], True) for kind in ('video', 'image')})


@MODELS.register_module()
class Joint(STT):
    """``L = L_nce + gamma * L_t``: a self-supervisor of images and the temporal stage of STT share one backbone.

    Both losses are summed before one step of the optimizer. Each batch passes the backbone on its own, so that no image
    enters the statistics by which BatchNorm normalises videos. The paper gives the sum and its score and nothing else:
    gamma, the two batch sizes, colours and geometry are ours. The student's geometry ends at stride 32 in res5, as that
    of an ordinary ResNet does, so it serves both branches; images are seen in RGB, videos in Lab.

    The image branch holds the shared backbone outside its module tree, so that parameters and checkpoints have it once,
    as ``backbone``.

    Args:
        backbone: config of the shared network.
        data_preprocessor: config of the one for clips; images have that of the image branch.
        image_branch: config of a self-supervisor of mmpretrain (``MoCo``, ``DetCo``, ...) without ``backbone``.
        radii: see :class:`STT`, like all arguments that are not listed here.
        gamma: factor on every loss of the temporal branch, 0 or larger.
        image_stages: stages that the image branch sees; DetCo needs all four.
        dual_bn: separate running statistics of BatchNorm for images. Evaluation then uses those of videos; without it,
            both kinds of batches enter one average.

    Raises:
        ValueError: for a negative gamma, or a stage that the backbone does not return.
    """

    def __init__(
        self,
        backbone: dict,
        data_preprocessor: dict,
        image_branch: dict,
        radii: dict[str, int],
        gamma: float = 1.0,
        image_stages: Sequence[str] = ('res5',),
        dual_bn: bool = False,
        reconstruction_head: dict | None = None,
        local_head: dict | None = None,
        global_head: dict | None = None,
        teacher: dict | None = None,
        penalty: dict | None = None,
        temperature: float | None = None,
        normalize: bool = False,
        propagator: dict | None = None,
        feature_stage: str | None = 'res4',
        init_cfg: dict | list | None = None,
    ) -> None:
        check_number('Joint: gamma', gamma, 0)
        self.image_stages = tuple(image_stages)
        super().__init__(
            backbone,
            data_preprocessor,
            radii,
            reconstruction_head,
            local_head,
            global_head,
            teacher,
            penalty,
            temperature,
            normalize,
            propagator,
            feature_stage,
            init_cfg,
        )
        self.gamma = gamma
        view = StageView(self.backbone, self.image_stages)
        self.image_branch = MODELS.build(dict(image_branch, backbone=view))
        # MoCo and its kin read self.backbone; as a plain attribute it is no second entry of the shared parameters.
        del self.image_branch.backbone
        object.__setattr__(self.image_branch, 'backbone', view)
        self.data_preprocessor = JointDataPreprocessor(self.data_preprocessor, self.image_branch.data_preprocessor)
        self.image_statistics = BatchStatistics(self.backbone) if dual_bn else None

    def used_stages(self) -> set[str]:
        """Stages that a branch or the evaluation needs."""
        return super().used_stages() | set(self.image_stages)

    def _check(self) -> None:
        super()._check()
        absent = [stage for stage in self.image_stages if stage not in self.backbone.stages]
        if absent:
            raise InputError(
                f'image_stages asks for {", ".join(absent)}, but the backbone returns '
                f'{", ".join(self.backbone.stages)}.'
            )

    def init_weights(self) -> None:
        """Initialise all parts; the statistics for images start as those of the backbone."""
        super().init_weights()
        if self.image_statistics is not None:
            self.image_statistics.init_from(self.backbone)

    def loss(self, inputs: dict, data_samples: list | None = None) -> dict[str, Tensor]:
        """Losses of one batch of each kind.

        Args:
            inputs: ``video`` and ``image``, as :class:`JointDataPreprocessor` returns them.
            data_samples: not used.

        Returns:
            The terms of the image branch with ``image_`` before their names, and those of STT: losses times gamma,
            what is only logged as it is.
        """
        used = nullcontext() if self.image_statistics is None else self.image_statistics.used_by(self.backbone)
        with used:
            image = self.image_branch.loss(inputs['image']['inputs'], inputs['image'].get('data_samples'))
        video = super().loss(inputs['video']['inputs'])
        return {f'image_{name}': value for name, value in image.items()} | {
            name: self.gamma * value if 'loss' in name else value for name, value in video.items()
        }
