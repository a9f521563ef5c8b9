"""What every penalty is, and where it wants a training to begin."""

from typing import Protocol

from mmengine.logging import MMLogger
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.registry import MODELS


class Penalty(Protocol):
    """Holds a backbone to an earlier task; STT, DetCo and PenalisedMoCo add its losses to theirs.

    Attributes:
        checkpoint: file of the earlier task, read by ``init_weights``.
        reference: weights of the backbone at its end, by name.
        stages: maps of the backbone that the penalty looks at; none for one on the weights.
    """

    checkpoint: str
    reference: dict[str, Tensor]
    stages: tuple[str, ...]

    def loss(self, backbone: nn.Module, frames: Tensor) -> dict[str, Tensor]:
        """Losses by name, weights applied.

        Args:
            backbone: the network that is trained.
            frames: ``[B, 3, H, W]``, what it would have seen in the earlier task, for a penalty that asks it again.
        """


def build_penalty(penalty: dict | None, backbone: nn.Module) -> Penalty | None:
    """The penalty of a config, ``None`` for none.

    Raises:
        ValueError: if it looks at a map that the backbone does not return.
    """
    if penalty is None:
        return None
    built = MODELS.build(penalty)
    returned = getattr(backbone, 'stages', ())
    if missing := [stage for stage in built.stages if stage not in returned]:
        raise InputError(
            f'{type(built).__name__} needs {missing[0]}, but {type(backbone).__name__} returns '
            f'{", ".join(returned) or "maps without names: take CorrespondenceResNet"}.'
        )
    return built


def check_start(backbone: nn.Module, penalty: Penalty) -> None:
    """Warn if a backbone does not start from the weights of the earlier task that a penalty holds it to.

    Args:
        backbone: the network that will be trained, initialised.
        penalty: an initialised one.
    """
    reference = penalty.reference
    gaps = [
        (value.detach() - reference[name].to(value)).abs().max().item()
        for name, value in backbone.named_parameters()
        if name in reference and reference[name].shape == value.shape
    ]
    differing = sum(gap != 0 for gap in gaps)
    if differing:
        MMLogger.get_current_instance().warning(
            '%s: %d of %d parameters of the backbone differ from it at the start, by up to %.3g. The penalty draws the '
            'backbone there from the first step on. Unless that is meant, name the same earlier training in both, '
            'model.backbone.init_cfg.checkpoint (STT_STAGE1_* or STT_TEMPORAL_*) and model.penalty.checkpoint '
            '(STT_FISHER_* or STT_STAGE1_FULL_*).',
            penalty.checkpoint,
            differing,
            len(gaps),
            max(gaps),
        )
