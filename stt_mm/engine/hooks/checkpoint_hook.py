"""Checkpoints from which training resumes bit by bit, and which never exist by halves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import register_backend
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from stt_mm.engine.compat import from_plain, to_plain
from stt_mm.engine.random_state import gather_random_states, restore_random_state
from stt_mm.errors import InputError, library_errors
from stt_mm.registry import HOOKS
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.checks import check_count

_BACKEND = 'stt_mm_atomic'


class AtomicBackend(LocalBackend):
    """The local disk, where a file appears under its name only when it is complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; see :func:`stt_mm.utils.checkpoint.write_atomically`."""
        write_atomically(obj, filepath)


register_backend(_BACKEND, AtomicBackend, force=True)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's checkpoint hook with plain data, random states and atomic writes.

    A file written by this hook can be read by ``torch.load(weights_only=True)``. Together with :class:`IterLoop` and a
    sampler that can advance, a resumed run continues bit by bit as if it had not stopped.

    Args:
        interval: iterations (epochs if ``by_epoch``) between checkpoints; -1 for none but the last.
        by_epoch: count epochs.
        save_optimizer: store the optimizer, without which a run cannot be resumed.
        save_param_scheduler: store the schedule's position.
        out_dir: folder of the checkpoints; by default the work directory.
        max_keep_ckpts: how many to keep; older ones are removed after the new one is written. -1 keeps all.
        save_last: also write one at the end.
        save_best: name of the validation metric whose best value is kept in a file of its own, or several.
        rule: ``greater`` or ``less``, for metrics whose direction the name does not tell.
        greater_keys, less_keys: parts of metric names with a known direction, in place of the default ones.
        filename_tmpl: file name with one ``{}``; by default ``iter_{}.pth`` or ``epoch_{}.pth``.
        save_begin: first iteration (epoch) at which to save.
    """

    _default_greater_keys = [*_CheckpointHook._default_greater_keys, 'J&F', 'PCK']

    def __init__(self, interval: int = -1, by_epoch: bool = False, save_optimizer: bool = True,
                 save_param_scheduler: bool = True, out_dir: str | None = None, max_keep_ckpts: int = -1,
                 save_last: bool = True, save_best: str | list[str] | None = None,
                 rule: str | list[str] | None = None, greater_keys: Sequence[str] | None = None,
                 less_keys: Sequence[str] | None = None, filename_tmpl: str | None = None,
                 save_begin: int = 0) -> None:
        for name, value in dict(interval=interval, max_keep_ckpts=max_keep_ckpts).items():
            if value != -1:
                check_count(f'CheckpointHook: {name}, unless it is -1,', value)
        if filename_tmpl is not None and filename_tmpl.count('{}') != 1:
            raise InputError(f'CheckpointHook: filename_tmpl must hold one {{}}, got {filename_tmpl!r}.')
        with library_errors('CheckpointHook cannot be built'):
            super().__init__(interval=interval, by_epoch=by_epoch, save_optimizer=save_optimizer,
                             save_param_scheduler=save_param_scheduler, out_dir=out_dir, max_keep_ckpts=max_keep_ckpts,
                             save_last=save_last, save_best=save_best, rule=rule, greater_keys=greater_keys,
                             less_keys=less_keys, filename_tmpl=filename_tmpl, save_begin=save_begin,
                             backend_args=dict(backend=_BACKEND))
        self._gathered: list[dict[str, Any]] | None = None
        self._resumed: list[dict[str, Any]] | None = None
        self._saved_step: int | None = None

    def save_now(self, runner: Runner) -> str:
        """Write a checkpoint after the current iteration unless there is one. Every rank must call it.

        Returns:
            Its path.
        """
        step = runner.epoch + 1 if self.by_epoch else runner.iter + 1
        if self._saved_step != step:
            self._save_checkpoint(runner)
        return str(self.last_ckpt)

    def before_train(self, runner: Runner) -> None:
        """Find out where to save; then, as everything else is set, restore the random state of a resumed run."""
        super().before_train(runner)
        is_resumed = runner.iter > 0 or runner.epoch > 0
        if is_resumed and self._resumed is not None and not restore_random_state(self._resumed):
            runner.logger.warning('The checkpoint was written by %d processes and this run has %d: the random state is '
                                  'not restored, results will differ from an uninterrupted run.',
                                  len(self._resumed), runner.world_size)
        self._resumed = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the random states and the geometry of the network, and turn everything into plain data."""
        if self._gathered is not None:
            checkpoint['random_states'] = self._gathered
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if getattr(model, 'geometry', None) is not None:
            checkpoint['meta']['geometry'] = model.geometry
        for key in list(checkpoint):
            checkpoint[key] = to_plain(checkpoint[key], key)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn plain data back into MMEngine's objects and keep the random states for later."""
        for key in ('message_hub', 'meta', 'optimizer', 'param_schedulers', 'random_states'):
            if key in checkpoint:
                checkpoint[key] = from_plain(checkpoint[key])
        self._resumed = checkpoint.get('random_states')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write the checkpoint of a step, then ``last_checkpoint``, and only then remove what is too old."""
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [*(kept for kept in self.keep_ckpt_ids if kept != step), step]
            outdated, kept = kept[:-self.max_keep_ckpts], kept[-self.max_keep_ckpts:]
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept)
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._gathered = gather_random_states()
        runner.save_checkpoint(self.out_dir, name, save_optimizer=self.save_optimizer,
                               save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
                               backend_args=self.backend_args)
        self._gathered = None
        self._saved_step = step
        if is_main_process():
            write_atomically(str(self.last_ckpt).encode(), Path(runner.work_dir) / 'last_checkpoint')
            for old in outdated:
                Path(self.out_dir, self.filename_tmpl.format(old)).unlink(missing_ok=True)
