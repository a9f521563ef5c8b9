"""A training loop that resumes at once and at the right sample."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch import nn
from torch.utils.data import DataLoader

from stt_mm.engine.hooks.stop_signal_hook import UNFINISHED_VALIDATION
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


def _shield_workers(loader: DataLoader) -> None:
    """A signal to the whole process group must let the trainer finish what it is doing, which needs its workers.

    SIGTERM ends a worker only if its trainer has sent it, which a trainer that ends by an error does before it waits
    for its workers. They start with SIGTERM blocked, as one could come before they are ready for it.
    """
    loader.worker_init_fn = partial(_worker_without_stop_signals, init_fn=loader.worker_init_fn)
    loader._get_iterator = partial(_call_with_sigterm_blocked, loader._get_iterator)


def _call_with_sigterm_blocked(function: Callable[[], Iterator]) -> Iterator:
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return function()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _worker_without_stop_signals(worker_id: int, init_fn: Callable[[int], Any] | None) -> None:
    """Start of a worker. macOS does not tell who has sent a signal: there it ends a minute after any SIGTERM."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):
        threading.Thread(target=_end_with, args=(os.getppid(), ), daemon=True).start()
    else:
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if init_fn is not None:
        init_fn(worker_id)


def _end_with(parent: int) -> None:
    """End this process at a SIGTERM from the parent, or from anybody if the parent is gone.

    The exit code is 0, as in PyTorch's own handler: any other is reported as an error of the worker.
    """
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == parent or os.getppid() != parent:
            os._exit(0)


def _built(runner: Runner, dataloader: DataLoader | dict) -> DataLoader:
    if not isinstance(dataloader, dict):
        return dataloader
    diff_rank_seed = runner._randomness_cfg.get('diff_rank_seed', False)
    with library_errors('The data loader of the training cannot be built'):
        return runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=diff_rank_seed)


@LOOPS.register_module()
class IterLoop(IterBasedTrainLoop):
    """MMEngine's iteration-based training, with resuming that costs nothing.

    On resume, a sampler with ``advance(num_samples)`` is told how many samples this process has already used; then
    the data workers start, once. A sampler without it makes the loop load and drop those batches, as MMEngine does.
    Starting the data and validating leave the random state of training as it was, so that neither a resume nor
    another validation interval changes the weights. A validation that :class:`StopSignalHook` has stopped is repeated
    before training goes on.

    Args:
        runner: the runner.
        dataloader: training data loader or its config.
        max_iters: iterations of the whole training.
        val_begin: first iteration after which to validate.
        val_interval: iterations between validations.
        dynamic_intervals: ``(iteration, interval)`` pairs that change ``val_interval`` from that iteration on.

    Raises:
        ValueError: a number is below 1, or a data loader gives no batch.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, max_iters: int, val_begin: int = 1,
                 val_interval: int = 1000, dynamic_intervals: list[tuple[int, int]] | None = None) -> None:
        for name, value in dict(max_iters=max_iters, val_begin=val_begin, val_interval=val_interval).items():
            check_count(f'train_cfg.{name}', value)
        dataloader = _built(runner, dataloader)
        super().__init__(runner, _NotStarted(dataloader), max_iters, val_begin=val_begin, val_interval=val_interval,
                         dynamic_intervals=dynamic_intervals)
        self.dataloader = dataloader

    def run(self) -> nn.Module:
        """Train from the current iteration to the last one.

        Returns:
            The runner's model.
        """
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        try:
            with kept_random_state():
                self._start_data()
            if self._validation_was_stopped():
                self._validate()
            while self._iter < self._max_iters and not self.stop_training:
                self.runner.model.train()
                self.run_iter(next(self.dataloader_iterator))
                self._decide_current_val_interval()
                if self._validation_is_due():
                    self._validate()
        finally:
            self._stop_data()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _train_loaders(self) -> list[DataLoader]:
        return [self.dataloader]

    def _loaders(self) -> list[DataLoader]:
        val_loop = self.runner.val_loop
        return [*self._train_loaders(), *([] if val_loop is None else [val_loop.dataloader])]

    def _stop_data(self) -> None:
        """End the workers now; an error's traceback would keep them alive until the end of the process."""
        iterators = self._iterators()
        for loader in self._loaders():
            iterators.append(loader._iterator)
            loader._iterator = None
        self.dataloader_iterator = None
        for iterator in iterators:
            if hasattr(iterator, '_shutdown_workers'):
                iterator._shutdown_workers()

    def _iterators(self) -> list[Iterator | None]:
        return [getattr(self.dataloader_iterator, '_iterator', None)]

    def _validation_is_due(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters

    def _validation_was_stopped(self) -> bool:
        stopped = self.runner.message_hub.get_info(UNFINISHED_VALIDATION)
        return self.runner.val_loop is not None and stopped == self._iter

    def _validate(self) -> None:
        self.runner.message_hub.update_info(UNFINISHED_VALIDATION, None)
        with kept_random_state():
            self.runner.val_loop.run()

    def _start_data(self) -> None:
        """Start the workers at the first sample that has not been trained on."""
        for loader in self._loaders():
            _shield_workers(loader)
        self.dataloader_iterator = self._start(self.dataloader)

    def _start(self, loader: DataLoader) -> Iterator:
        """Endless iterator over the batches of a loader that have not been trained on."""
        batches = loader.batch_sampler
        advance = getattr(getattr(batches, 'sampler', None), 'advance', None)
        if self._iter > 0 and advance is not None:
            advance(self._iter * batches.batch_size)
            print_log(f'Data continues after {self._iter} batches of {batches.batch_size}.', logger='current')
        if advance is None and len(loader) == 0:
            raise InputError(f'{type(loader.dataset).__name__}: {len(loader.dataset)} samples shared out over '
                             f'{get_world_size()} processes do not fill a batch of {batches.batch_size}. Lower '
                             "batch_size, or take sampler=dict(type='TrainSampler').")
        iterator = _InfiniteDataloaderIterator(loader)
        if self._iter > 0 and advance is None:
            sampler = type(getattr(batches, 'sampler', loader.sampler)).__name__
            print_log(f'{sampler} cannot advance: loading {self._iter} batches to skip them.', logger='current')
            for _ in range(self._iter):
                next(iterator)
        return iterator


class _Paired(Iterator):
    """One batch of each of several iterators at a time, by name."""

    def __init__(self, iterators: dict[str, Iterator]) -> None:
        self.iterators = iterators

    def __next__(self) -> dict[str, Any]:
        return {name: next(iterator) for name, iterator in self.iterators.items()}


@LOOPS.register_module()
class JointIterLoop(IterLoop):
    """Iteration-based training on one batch of videos and one of images per step.

    The model receives ``dict(video=..., image=...)``. Each loader has its own batch size, sampler and workers, and on
    resume each goes on at its own position. ``train_dataloader`` of the config is that of videos; whatever looks at it,
    such as ``--auto-scale-lr``, counts videos.

    Args:
        runner: the runner.
        dataloader: data loader of videos or its config.
        image_dataloader: data loader of images or its config.
        max_iters, val_begin, val_interval, dynamic_intervals: see :class:`IterLoop`.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, image_dataloader: DataLoader | dict,
                 max_iters: int, val_begin: int = 1, val_interval: int = 1000,
                 dynamic_intervals: list[tuple[int, int]] | None = None) -> None:
        super().__init__(runner, dataloader, max_iters, val_begin, val_interval, dynamic_intervals)
        self.image_dataloader = _built(runner, image_dataloader)

    def _train_loaders(self) -> list[DataLoader]:
        return [self.dataloader, self.image_dataloader]

    def _iterators(self) -> list[Iterator | None]:
        started = getattr(self.dataloader_iterator, 'iterators', {})
        return [iterator._iterator for iterator in started.values()]

    def _start_data(self) -> None:
        super()._start_data()
        self.dataloader_iterator = _Paired(dict(video=self.dataloader_iterator,
                                                image=self._start(self.image_dataloader)))
