"""Global correlation distillation from the frozen stage-1 teacher (STT, section 3.3)."""

from mmengine.model import BaseModule
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops import global_affinity
from stt_mm.registry import MODELS
from stt_mm.utils import check_number


@MODELS.register_module()
class GlobalCorrelationHead(BaseModule):
    """The student's affinity over whole frames follows the teacher's (STT, Eqs. 8 and 9).

    Args:
        loss: config of the distance.
        weight: factor on the loss; 50 in the released code.
        stage: student stage. Its grid must be that of the teacher's map; the channels may differ.
        teacher_temperature: divides the teacher's dot products; 0.07 in the released code, ``None``: ``sqrt(C)``, as
            the student's (paper: one rule for both).
    """

    def __init__(
        self,
        loss: dict,
        weight: float = 50.0,
        stage: str = 'res5',
        teacher_temperature: float | None = 0.07,
    ) -> None:
        super().__init__()
        if teacher_temperature is not None:
            check_number('teacher_temperature', teacher_temperature, above=0)
        check_number('weight', weight, 0)
        self.loss_fn = MODELS.build(loss)
        self.weight = weight
        self.stage = stage
        self.teacher_temperature = teacher_temperature

    def loss(self, query: Tensor, key: Tensor, teacher_query: Tensor, teacher_key: Tensor) -> dict[str, Tensor]:
        """Distillation loss.

        Args:
            query: ``[B, C, H, W]``, student features of the target.
            key: ``[B, C, H, W]``, student features of the reference.
            teacher_query: ``[B, D, H, W]``, teacher features of the target.
            teacher_key: ``[B, D, H, W]``, teacher features of the reference.

        Returns:
            ``loss_global``.

        Raises:
            ValueError: if the two grids differ.
        """
        if query.shape[-2:] != teacher_query.shape[-2:]:
            raise InputError(
                f'Student {self.stage} has grid {tuple(query.shape[-2:])}, the teacher '
                f'{tuple(teacher_query.shape[-2:])}: choose geometries that make them equal.'
            )
        student = global_affinity(query, key, 1 / query.shape[1] ** 0.5)
        temperature = self.teacher_temperature or teacher_query.shape[1] ** 0.5
        teacher = global_affinity(teacher_query, teacher_key, 1 / temperature)
        return {'loss_global': self.weight * self.loss_fn(student, teacher)}
