"""Elastic weight consolidation: a penalty for leaving the weights of an earlier task."""

import torch
from torch import Tensor, nn

from stt_mm.ops import quadratic_penalty
from stt_mm.registry import MODELS
from stt_mm.utils import check_number
from stt_mm.utils.checkpoint import CheckpointError, read_checkpoint
from stt_mm.utils.key_maps import flat_weights
from stt_mm.utils.weights import check_finite


@MODELS.register_module()
class EWCPenalty(nn.Module):
    """``weight / 2 * sum_p F_p (theta_p - theta*_p) ** 2`` over the parameters of a backbone.

    ``theta*`` are the weights at the end of the earlier task, ``F`` the diagonal of its Fisher information; both come
    from one file, written by ``tools/estimate_fisher.py``. Neither is part of ``parameters()`` or ``state_dict()``: the
    file is read at every start, also when a run is resumed. BatchNorm statistics are no parameters and move freely.

    The paper that compares with this penalty gives neither its weight nor how ``F`` was estimated; both are our choice.

    Args:
        checkpoint: the file. It is read when the weights of the model are initialised.
        weight: lambda, 0 or larger. It has to be swept; 1e2 to 1e5 is a sensible range.

    Raises:
        ValueError: if the weight is negative.
    """

    stages: tuple[str, ...] = ()

    def __init__(self, checkpoint: str, weight: float = 1e3) -> None:
        super().__init__()
        check_number('EWCPenalty: weight', weight, 0)
        self.checkpoint = checkpoint
        self.weight = weight
        self.fisher: dict[str, Tensor] = {}
        self.reference: dict[str, Tensor] = {}
        self._device: torch.device | None = None

    def init_weights(self) -> None:
        """Read the file.

        Raises:
            FileNotFoundError: if it does not exist.
            CheckpointError: if it cannot be read, is no file of ``tools/estimate_fisher.py``, or holds what no Fisher
                information can be; the message names the entry.
        """
        content = read_checkpoint(self.checkpoint)
        if not isinstance(content, dict) or not all(flat_weights(content.get(key)) for key in ('fisher', 'reference')):
            raise CheckpointError(
                f'{self.checkpoint} does not hold a Fisher information and reference weights. Write '
                'it with tools/estimate_fisher.py CONFIG CHECKPOINT --out FILE.'
            )
        self.fisher, self.reference = (flat_weights(content[key]) for key in ('fisher', 'reference'))
        for kind, values in dict(fisher=self.fisher, reference=self.reference).items():
            for name, value in values.items():
                if not value.is_floating_point() or kind == 'fisher' and (value < 0).any():
                    what = value.dtype if not value.is_floating_point() else f'as low as {value.min():.3g}'
                    raise CheckpointError(
                        f'{self.checkpoint}: {kind} of {name} is {what}, but must be of floating '
                        f'point{" and 0 or larger" if kind == "fisher" else ""}. Estimate it again.'
                    )
            check_finite(values, self.checkpoint, 'Estimate it again.')
        if not any(value.any() for value in self.fisher.values()):
            raise CheckpointError(
                f'{self.checkpoint}: fisher is 0 in every entry, such as {next(iter(self.fisher))}, '
                'so nothing would be held. Estimate it again.'
            )
        self._device = None

    def check(self, backbone: nn.Module) -> None:
        """Compare the file with a backbone.

        Raises:
            CheckpointError: if a name or a shape differs; the message names the first ones.
        """
        shapes = {name: tuple(value.shape) for name, value in backbone.named_parameters()}
        for kind, values in dict(fisher=self.fisher, reference=self.reference).items():
            found = {name: tuple(value.shape) for name, value in values.items()}
            faults = [
                f'{name} is {found.get(name, "absent")} in the file and {shapes.get(name, "absent")} in the backbone'
                for name in dict.fromkeys([*shapes, *found])
                if shapes.get(name) != found.get(name)
            ]
            if faults:
                more = f'; and {len(faults) - 3} more' if len(faults) > 3 else ''
                raise CheckpointError(
                    f'{self.checkpoint}: {kind} does not fit the backbone: {"; ".join(faults[:3])}'
                    f'{more}. Estimate it with a config of the same architecture.'
                )

    def loss(self, backbone: nn.Module, frames: Tensor | None = None) -> dict[str, Tensor]:
        """``loss_ewc`` of the backbone as it is now.

        Args:
            backbone: the network that is trained. Its names and shapes are checked when it is first seen.
            frames: not looked at; see :class:`Penalty`.

        Raises:
            RuntimeError: if the file has not been read.
            CheckpointError: see :meth:`check`.
        """
        if not self.fisher:
            raise RuntimeError(f'EWCPenalty has not read {self.checkpoint}: call init_weights() of the model first.')
        parameters = dict(backbone.named_parameters())
        device = next(iter(parameters.values())).device
        if device != self._device:
            self.check(backbone)
            self.fisher, self.reference = (
                {name: value.float().to(device) for name, value in values.items()}
                for values in (self.fisher, self.reference)
            )
            self._device = device
        return {'loss_ewc': self.weight * quadratic_penalty(parameters, self.reference, self.fisher)}
