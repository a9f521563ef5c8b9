"""A training loop that resumes at once and at the right sample."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from typing import Any

from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from stt_mm.engine.compat import broadcast_buffers
from stt_mm.engine.hooks.checkpoint_hook import VALIDATED
from stt_mm.engine.random_state import kept_random_state
from stt_mm.errors import InputError, library_errors
from stt_mm.registry import LOOPS
from stt_mm.utils.checks import check_count


class _NotStarted:
    """Stands in for a data loader while the parent class is built, so that no worker starts before resuming."""

    def __init__(self, dataloader: DataLoader) -> None:
        self.dataset = dataloader.dataset

    def __iter__(self) -> Iterator:
        return iter(())


def _obey(worker_id: int, ending: Any, init_fn: Callable[[int], Any] | None) -> None:
    """Start of a data worker: a signal to the whole process group must not end it, as the trainer still needs it.

    The trainer stops its workers by a message, and one that does not listen by SIGTERM, after it has set ``ending``. A
    worker whose trainer is gone ends within seconds by itself.
    """
    for name in ('SIGINT', 'SIGHUP', 'SIGUSR1'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if ending.value else None)
    if init_fn is not None:
        init_fn(worker_id)


def _endless(loader: DataLoader) -> Iterator:
    """The batches of a loader again and again; its workers start with the first one."""
    for epoch in count():
        if epoch and hasattr(_sampler(loader), 'set_epoch'):
            _sampler(loader).set_epoch(epoch)
        with kept_random_state():
            iterator = iter(loader)
        first = list(islice(iterator, 1))
        if not first:
            raise InputError(
                f'{type(loader.dataset).__name__}: {len(loader.dataset)} samples shared out over '
                f'{get_world_size()} processes do not fill a batch of {loader.batch_size}. Lower '
                "batch_size, or take sampler=dict(type='TrainSampler')."
            )
        yield first.pop()
        yield from iterator


def _sampler(loader: DataLoader) -> Any:
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


def _built(runner: Runner, dataloader: DataLoader | dict) -> DataLoader:
    if not isinstance(dataloader, dict):
        return dataloader
    diff_rank_seed = (runner.cfg.get('randomness') or {}).get('diff_rank_seed', False)
    with library_errors('The data loader of the training cannot be built'):
        return runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=diff_rank_seed)


@LOOPS.register_module()
class IterLoop(IterBasedTrainLoop):
    """MMEngine's iteration-based training, with resuming that costs nothing.

    On resume, a sampler with ``advance(num_samples)`` is told how many samples this process has already used. A sampler
    without it makes the loop load and drop those batches, as MMEngine does. Data and validations leave the random state
    of training as it was, so that neither a resume nor another validation interval changes the weights.

    A validation that is due after the iteration of the checkpoint, and whose score the checkpoint lacks, comes first.
    It scores the network of the file in several processes too: all have the buffers of rank 0.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_interval: int = 1000,
    ) -> None:
        for name, value in dict(max_iters=max_iters, val_interval=val_interval).items():
            check_count(f'train_cfg.{name}', value)
        dataloader = _built(runner, dataloader)
        super().__init__(runner, _NotStarted(dataloader), max_iters, val_interval=val_interval)
        self.dataloader = dataloader

    def run(self) -> nn.Module:
        """Train the runner's model, which is returned, from the current iteration to the last one."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        try:
            self._train()
        except BaseException as error:
            # Its frames hold iterators, and thereby workers, for as long as somebody holds the error.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            self._stop_data()
            self.runner.call_hook('after_loop')
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _train(self) -> None:
        self._start_data()
        if self._iter > 0:
            self._validate_if_due()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate_if_due()

    def _validate_if_due(self) -> None:
        if self.runner.val_loop is None:
            return
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if due and self.runner.message_hub.get_info(VALIDATED) != self._iter:
            broadcast_buffers(self.runner.model)
            with kept_random_state():
                self.runner.val_loop.run()

    def _train_loaders(self) -> list[DataLoader]:
        return [self.dataloader]

    def _loaders(self) -> list[DataLoader]:
        val_loop = self.runner.val_loop
        return [*self._train_loaders(), *([] if val_loop is None else [val_loop.dataloader])]

    def _start_data(self) -> None:
        self._ending = multiprocessing.RawValue('b', 0)
        for loader in self._loaders():
            loader.worker_init_fn = partial(_obey, ending=self._ending, init_fn=loader.worker_init_fn)
        self.dataloader_iterator = self._start(self.dataloader)

    def _stop_data(self) -> None:
        """End the workers, which end with their iterators."""
        self._ending.value = 1
        self.dataloader_iterator = None
        for loader in self._loaders():
            loader._iterator = None

    def _start(self, loader: DataLoader) -> Iterator:
        """Endless iterator over the batches of a loader that have not been trained on."""
        iterator, sampler = _endless(loader), _sampler(loader)
        if self._iter > 0 and hasattr(sampler, 'advance'):
            batch_size = loader.batch_sampler.batch_size
            sampler.advance(self._iter * batch_size)
            print_log(f'Data continues after {self._iter} batches of {batch_size}.', logger='current')
        elif self._iter > 0:
            print_log(
                f'{type(sampler).__name__} cannot advance: loading {self._iter} batches to skip them.', logger='current'
            )
            with kept_random_state():
                for _ in range(self._iter):
                    next(iterator)
        return iterator


@LOOPS.register_module()
class JointIterLoop(IterLoop):
    """Iteration-based training on one batch of videos and one of images per step.

    The model receives ``dict(video=..., image=...)``. Each loader has its own batch size, sampler and workers, and on
    resume each goes on at its own position. ``train_dataloader`` of the config is that of videos; whatever looks at it,
    such as ``--auto-scale-lr``, counts videos.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        image_dataloader: DataLoader | dict,
        max_iters: int,
        val_interval: int = 1000,
    ) -> None:
        super().__init__(runner, dataloader, max_iters, val_interval)
        self.image_dataloader = _built(runner, image_dataloader)

    def _train_loaders(self) -> list[DataLoader]:
        return [self.dataloader, self.image_dataloader]

    def _start_data(self) -> None:
        super()._start_data()
        pairs = zip(self.dataloader_iterator, self._start(self.image_dataloader), strict=True)
        self.dataloader_iterator = (dict(video=video, image=image) for video, image in pairs)
