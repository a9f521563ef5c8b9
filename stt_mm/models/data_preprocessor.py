"""One uint8 clip in; the student's and the teacher's frames out, on the device."""

from typing import Literal

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops import drop_channels, normalise_frames, to_device
from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number

CHROMA = (1, 2)


@MODELS.register_module()
class ClipDataPreprocessor(BaseDataPreprocessor):
    """Colour conversion, normalisation and channel dropout.

    The dropped channel is a function of (seed, iteration, rank) that the runner publishes, so that a resumed training
    repeats the same draws.

    Args:
        student_color: colour space of the student.
        teacher_color: colour space of the teacher; Lab only if stage 1 was trained on Lab.
        dropout: ``one`` drops exactly one of a and b (released code); ``bernoulli`` drops each with ``drop_prob``, at
            least one of them; ``None`` drops nothing.
        drop_prob: probability for ``bernoulli``.
        drop_per: one draw per ``call`` (released code) or per ``sample`` (``one`` only).
        rescale: enlarge the kept channels (3/2 for one of three dropped).
        rank_shared: the same draw on every rank.
    """

    def __init__(
        self,
        student_color: Literal['lab', 'rgb'] = 'lab',
        teacher_color: Literal['lab', 'rgb'] = 'rgb',
        dropout: Literal['one', 'bernoulli'] | None = 'one',
        drop_prob: float = 0.5,
        drop_per: Literal['call', 'sample'] = 'call',
        rescale: bool = True,
        rank_shared: bool = False,
    ) -> None:
        super().__init__(non_blocking=True)
        check_choice('student_color', student_color, ('lab', 'rgb'))
        check_choice('teacher_color', teacher_color, ('lab', 'rgb'))
        check_choice('dropout', dropout, ('one', 'bernoulli', None))
        check_choice('drop_per', drop_per, ('call', 'sample'))
        check_number('drop_prob', drop_prob, 0, 1)
        if dropout == 'bernoulli' and drop_per == 'sample':
            raise InputError(f"'bernoulli' needs drop_per='call', got {drop_per!r}.")
        self.student_color = student_color
        self.teacher_color = teacher_color
        self.dropout = dropout
        self.drop_prob = drop_prob
        self.drop_per = drop_per
        self.rescale = rescale
        self.rank_shared = rank_shared

    def draw_dropped(self, batch: int) -> np.ndarray:
        """Whether each channel is dropped in this iteration: bool ``[3]``, or ``[batch, 3]`` per sample."""
        dropped = np.zeros((batch if self.drop_per == 'sample' else 1, 3), dtype=bool)
        if self.dropout is None:
            return dropped[0]
        info = MessageHub.get_current_instance().runtime_info
        rank = 0 if self.rank_shared else get_rank()
        rng = np.random.default_rng([int(info.get('seed') or 0), int(info.get('iter', 0)), rank])
        for row in dropped:
            row[CHROMA[int(rng.integers(2))]] = True
            if self.dropout == 'bernoulli':
                chosen = rng.random(2) < self.drop_prob
                row[1:] = chosen if chosen.any() else row[1:]
        return dropped if self.drop_per == 'sample' else dropped[0]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: in training ``inputs`` is uint8 ``[B, T, 3, H, W]``, RGB; otherwise a list of lazy videos, which pass
                through, because their frames are converted one at a time, as the protocol says.
            training: whether a clip or a video comes.

        Returns:
            In training ``inputs`` holds ``frames`` (student colours, undropped), ``student`` (dropped and rescaled) and
            ``teacher``, each float32 ``[B, T, 3, H, W]``, and ``dropped``, int64 ``[D]`` or, drawn per sample,
            ``[B, D]``, the channels that the student does not see.
        """
        if not training:
            return data
        inputs = data.get('inputs') if isinstance(data, dict) else None
        if not isinstance(inputs, Tensor) or inputs.ndim != 5:
            got = f'{type(data).__name__} without them' if inputs is None else type(inputs).__name__
            got += f' of shape {tuple(inputs.shape)}' if isinstance(inputs, Tensor) else ''
            raise InputError(
                f'A training batch must have inputs, a uint8 tensor [B, T, 3, H, W], got a {got}. End the '
                "pipeline with PackClip, and set collate_fn=dict(type='default_collate')."
            )
        data = self.cast_data(data)
        # Colours are what the losses are measured in; autocast would round them.
        with torch.autocast(data['inputs'].device.type, enabled=False):
            return self._prepare(data)

    def _prepare(self, data: dict) -> dict:
        rgb = data['inputs'] / 255
        frames = normalise_frames(rgb, self.student_color)
        drawn = self.draw_dropped(len(rgb))
        mask, dropped = (
            to_device(torch.from_numpy(values), rgb.device)
            for values in (drawn, drawn.nonzero()[-1].reshape(*drawn.shape[:-1], -1))
        )
        student = frames if self.dropout is None else drop_channels(frames, mask, self.rescale)
        teacher = frames if self.teacher_color == self.student_color else normalise_frames(rgb, self.teacher_color)
        inputs = dict(frames=frames, student=student, teacher=teacher, dropped=dropped)
        return dict(inputs=inputs, data_samples=data.get('data_samples'))
