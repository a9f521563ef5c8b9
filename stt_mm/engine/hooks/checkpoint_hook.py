"""Checkpoints from which training resumes bit by bit, and which never exist by halves."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import register_backend
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner
from torch import Tensor

from stt_mm.engine.compat import TRUSTED_SCHEME, bare, broadcast_buffers, from_plain, to_plain
from stt_mm.engine.config import flatten
from stt_mm.engine.hooks.finite_loss_hook import advice, loss_is_finite
from stt_mm.engine.random_state import gather_random_states, restore_random_state
from stt_mm.errors import InputError, library_errors
from stt_mm.registry import HOOKS
from stt_mm.utils.checkpoint import CheckpointError, remove_left_overs, sha8, training_files, write_atomically
from stt_mm.utils.checks import check_count
from stt_mm.utils.geometry import describe
from stt_mm.utils.weights import check_finite

# In the message hub: the last iteration whose validation score is in the history.
VALIDATED = 'scored_iter'
_BACKEND = 'stt_mm_atomic'


class AtomicBackend(LocalBackend):
    """The local disk, where a file appears under its name only when it is complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; see :func:`stt_mm.utils.checkpoint.write_atomically`."""
        write_atomically(obj, filepath)


register_backend(_BACKEND, AtomicBackend, force=True)


def check_fits(runner: Runner, checkpoint: dict) -> None:
    """Refuse to resume from the file of another model, of which MMEngine would load what fits."""
    wanted = {name: tuple(value.shape) for name, value in bare(runner.model).state_dict().items()}
    found = {name: tuple(value.shape) for name, value in checkpoint['state_dict'].items()}
    differing = [
        f'{name} is {found.get(name, "missing")} in the file and {wanted.get(name, "missing")} in the model'
        for name in {**wanted, **found}
        if found.get(name) != wanted.get(name)
    ]
    groups = [
        [len(group['params']) for group in state.get('param_groups', [])]
        for state in (checkpoint.get('optimizer', {}), runner.optim_wrapper.state_dict())
    ]
    if not differing and groups[0] != groups[1]:
        differing = [f'the optimizer has parameter groups of {groups[0]} in the file and of {groups[1]} in the config']
    trained, used = checkpoint['meta'].get('geometry'), getattr(bare(runner.model), 'geometry', None)
    if trained and used and describe(trained) != describe(used):
        differing.append(f'its geometry is {describe(trained)} in the file and {describe(used)} in the config')
    if differing:
        more = '; ...' if len(differing) > 2 else ''
        raise CheckpointError(
            f'{runner.cfg.load_from.removeprefix(TRUSTED_SCHEME)} is from a training of another '
            f'model: {"; ".join(differing[:2])}{more}. Resume with the config it was trained with.'
        )


def check_fills(runner: Runner, checkpoint: dict) -> None:
    """Refuse to start from weights of which none fits, or that are not finite; MMEngine would start from scratch."""
    source = str(runner.cfg.load_from).removeprefix(TRUSTED_SCHEME)
    weights = checkpoint.get('state_dict', checkpoint)
    found = {name.removeprefix('module.'): value for name, value in weights.items() if isinstance(value, Tensor)}
    wanted = bare(runner.model).state_dict()
    fits = sum(name in wanted and wanted[name].shape == value.shape for name, value in found.items())
    if not fits:
        raise CheckpointError(
            f'load_from={source} fills none of the {len(wanted)} weights of the model. Its first names are '
            f'{", ".join(list(found)[:2]) or "none"}, those of the model {", ".join(list(wanted)[:2])}. Weights of '
            "another project fill the backbone alone: model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...)."
        )
    check_finite(found, source, 'Start from another file.')
    if fits < len(wanted):
        runner.logger.warning(f'load_from={source} fills {fits} of the {len(wanted)} weights of the model.')


def files_read(cfg: Config) -> dict[str, str]:
    """The digest of each file of weights that the model of a config names, such as its teacher's, by dotted key."""
    named = {key: value for key, value in flatten({'model': cfg.get('model')}).items() if key.endswith('.checkpoint')}
    return {key: sha8(value) for key, value in named.items() if isinstance(value, str) and Path(value).is_file()}


def settings(cfg: Config) -> dict[str, str]:
    """What of a config decides how weights are trained: each value as text, by dotted key."""
    decisive = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')
    return {key: repr(value) for key, value in flatten({name: cfg.get(name) for name in decisive}).items()}


def changed_settings(cfg: Config, checkpoint: dict) -> str:
    """What a config says otherwise than that with which the file of a checkpoint was trained; empty if nothing."""
    now = settings(cfg)
    before = checkpoint['meta'].get('settings', now)
    changed = [
        f'{key} was {before.get(key, "not set")} and is {now.get(key, "not set")}'
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]
    files, then = files_read(cfg), checkpoint['meta'].get('files', {})
    changed += [
        f'the file of {key} had the SHA-256 {then[key]}... and has {files[key]}...'
        for key in files.keys() & then.keys()
        if files[key] != then[key]
    ]
    return '; '.join(changed)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's checkpoint hook with plain data, random states and atomic writes.

    A file written by this hook can be read by ``torch.load(weights_only=True)``. Together with :class:`IterLoop` and a
    sampler that can advance, a resumed run continues bit by bit as if it had not stopped. The file of an iteration is
    written before its validation and again after it, with the score; a file without the score makes :class:`IterLoop`
    repeat the validation. At any moment a run may be killed and nothing is lost but time.

    No file is written while the loss or the weights are not finite.

    Args:
        interval: iterations between checkpoints; -1 for none but the last.
        by_epoch: must be ``False``; MMEngine's default is another.
        max_keep_ckpts: how many to keep; older ones are removed after the new one is written. -1 keeps all.
        save_best: name of the validation metric whose best value is kept in a file of its own, or several.
        rule: ``greater`` or ``less``, for metrics whose direction the name does not tell.

    Raises:
        ValueError: if ``by_epoch`` is set; in training, if weights are not finite, if the validation has no metric
            ``save_best``, or if the file to resume from belongs to another model.
    """

    _default_greater_keys = [*_CheckpointHook._default_greater_keys, 'J&F', 'PCK']

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = False,
        max_keep_ckpts: int = -1,
        save_best: str | list[str] | None = None,
        rule: str | list[str] | None = None,
    ) -> None:
        if by_epoch:
            raise InputError('CheckpointHook counts iterations: by_epoch must be False.')
        for name, value in dict(interval=interval, max_keep_ckpts=max_keep_ckpts).items():
            if value != -1:
                check_count(f'CheckpointHook: {name}, unless it is -1,', value)
        with library_errors('CheckpointHook cannot be built'):
            super().__init__(
                interval=interval,
                by_epoch=False,
                max_keep_ckpts=max_keep_ckpts,
                save_best=save_best,
                rule=rule,
                backend_args=dict(backend=_BACKEND),
            )
        self._is_training = False
        self._saved_step: int | None = None
        self._files: dict[str, str] = {}
        self._resumed: list[dict[str, Any]] | None = None
        # Of all ranks: while a file is written, and from the start to the end of a validation.
        self._random_states: list[dict[str, Any]] | None = None

    def save_now(self, runner: Runner, step: int) -> str | None:
        """Write the checkpoint of an iteration unless it has been. In a validation rank 0 may call it alone.

        Returns:
            Its path, or ``None`` if it must not be written.
        """
        if self._saved_step != step:
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=step))
        return str(self.last_ckpt) if self._saved_step == step else None

    def before_train(self, runner: Runner) -> None:
        """Clear up after a killed run; then, as everything else is set, restore the random state of a resumed one."""
        super().before_train(runner)
        self._is_training = True
        self._files = files_read(runner.cfg)
        if is_main_process():
            remove_left_overs(self.out_dir, '*.pth')
            remove_left_overs(runner.work_dir, 'last_checkpoint')
        if runner.iter == 0:
            return
        if is_main_process():
            self._compare_best_files(runner)
        # The last one that was done, as in a run that was not stopped.
        runner.message_hub.update_info('iter', runner.iter - 1)
        if self._resumed is not None and not restore_random_state(self._resumed):
            runner.logger.warning(
                'The checkpoint was written by %d processes and this run has %d: the random state is '
                'not restored, results will differ from an uninterrupted run.',
                len(self._resumed),
                runner.world_size,
            )
        self._resumed = None

    def _compare_best_files(self, runner: Runner) -> None:
        """Say which best files of the folder and of the history are not the same, as after a kill or a step back."""
        known = {
            Path(value).name for key, value in runner.message_hub.runtime_info.items() if key.startswith('best_ckpt')
        }
        found = {path.name: step for path, step in training_files(Path(self.out_dir), best=True).items()}
        later = {name for name in found.keys() - known if found[name] > runner.iter}
        for names, what in (
            (later, 'of a later iteration than that where the training goes on'),
            (known - found.keys(), 'the best so far by the history, but not there'),
        ):
            if names:
                runner.logger.warning(f'{self.out_dir}: {" and ".join(sorted(names))} is {what}.')

    def before_val(self, runner: Runner) -> None:
        """Keep the random states of training, which validation may change, for the files written meanwhile."""
        if self._is_training:
            self._random_states = self._states_to_save(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the best files, and that of this iteration again if there is one, now with the score."""
        if not self._is_training:
            return
        unknown = set(getattr(self, 'key_indicators', ())) - {'auto', *(metrics or {})}
        if unknown:
            raise InputError(
                f'CheckpointHook: save_best={", ".join(sorted(unknown))} is no metric of the validation, '
                f'which gives {", ".join(metrics or {})}.'
            )
        runner.message_hub.update_info(VALIDATED, runner.iter)
        super().after_val_epoch(runner, metrics or {})
        if Path(self.out_dir, self.filename_tmpl.format(runner.iter)).exists():
            self._save_checkpoint_with_step(runner, runner.iter, dict(epoch=runner.epoch, iter=runner.iter))
        self._random_states = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add random states, geometry of the network, protocol and settings, and turn everything into plain data."""
        checkpoint['random_states'] = self._random_states
        model = bare(runner.model)
        if (geometry := getattr(model, 'geometry', None)) is not None:
            checkpoint['meta']['geometry'] = geometry
        if (propagator := getattr(model, 'propagator', None)) is not None:
            checkpoint['meta']['protocol'] = propagator.protocol.settings
        checkpoint['meta']['settings'] = settings(runner.cfg)
        checkpoint['meta']['files'] = self._files
        for key in list(checkpoint):
            checkpoint[key] = to_plain(checkpoint[key], key)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn plain data back into MMEngine's objects and keep the random states for later."""
        for key in ('message_hub', 'meta', 'optimizer', 'param_schedulers', 'random_states'):
            if key in checkpoint:
                checkpoint[key] = from_plain(checkpoint[key])
        self._resumed = checkpoint.get('random_states')
        if runner.cfg.get('resume'):
            check_fits(runner, checkpoint)
            if not self._resumed:
                runner.logger.warning(
                    'The checkpoint has no random states: results will differ from an uninterrupted run.'
                )
            if changed := changed_settings(runner.cfg, checkpoint):
                runner.logger.warning(
                    'The training goes on with other settings than before. The optimizer and its '
                    f'schedule keep what the file holds, all else follows the config: {changed}.'
                )
        else:
            check_fills(runner, checkpoint)

    def _states_to_save(self, runner: Runner) -> list[dict[str, Any]]:
        """Random states of all ranks, or none if the loss is not finite. Every rank must call it."""
        check_finite(
            bare(runner.model).state_dict(),
            f'The model after iteration {runner.message_hub.get_info("iter") + 1}',
            f'No checkpoint of it is written. {advice(runner)}',
        )
        if not loss_is_finite(runner):
            runner.logger.warning('The loss is not finite: no checkpoint is written.')
            return []
        return gather_random_states()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write the checkpoint of a step, then ``last_checkpoint``, and only then remove what is too old."""
        in_validation = self._random_states is not None
        if not in_validation:
            broadcast_buffers(runner.model)
            self._random_states = self._states_to_save(runner)
        if self._random_states:
            self._write(runner, step, meta)
        if not in_validation:
            self._random_states = None

    def _write(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [*(kept for kept in self.keep_ckpt_ids if kept != step), step]
            outdated, kept = kept[: -self.max_keep_ckpts], kept[-self.max_keep_ckpts :]
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept)
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            meta=meta,
            by_epoch=False,
            backend_args=self.backend_args,
        )
        self._saved_step = step
        if is_main_process():
            write_atomically(str(self.last_ckpt).encode(), Path(runner.work_dir) / 'last_checkpoint')
            for old in outdated:
                Path(self.out_dir, self.filename_tmpl.format(old)).unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Write the files of new best scores, each before the one that it replaces is removed."""
        if not (self.save_best and self._random_states):
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        info = runner.message_hub
        for key, rule in zip(self.key_indicators, self.rules, strict=True):
            suffix = '' if len(self.key_indicators) == 1 else f'_{key}'
            if not self.is_better_than[key](
                metrics[key], info.get_info(f'best_score{suffix}', self.init_value_map[rule])
            ):
                continue
            name = f'best_{key}_{self.filename_tmpl.format(runner.iter)}'.replace('/', '_')
            old = info.get_info(f'best_ckpt{suffix}')
            info.update_info(f'best_score{suffix}', metrics[key])
            info.update_info(f'best_ckpt{suffix}', self.file_backend.join_path(self.out_dir, name))
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=False,
                save_param_scheduler=False,
                meta=dict(epoch=runner.epoch, iter=runner.iter),
                by_epoch=False,
                backend_args=self.backend_args,
            )
            runner.logger.info(f'Best {key} so far: {metrics[key]:.4f}, saved to {name}.')
            if old and Path(old).name != name and is_main_process():
                Path(self.out_dir, Path(old).name).unlink(missing_ok=True)
