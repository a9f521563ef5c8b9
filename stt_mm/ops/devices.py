"""What devices do on their own: copies for which the host does not wait, results that are kept, and precision."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on a device; what has not arrived on a GPU is waited for there, not here."""
    device = torch.device(device)
    if device.type != 'cuda' or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def full_float32() -> Iterator[None]:
    """Products and convolutions of float32 as such on a GPU too, which may round them to 10 bits (TF32) by itself."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    backends, name, value = [cudnn, products], 'allow_tf32', False
    try:
        before = [getattr(backend, name) for backend in backends]
    except RuntimeError:
        # PyTorch 2.9 and later, where somebody has set the new names: the old ones cannot be read any more.
        backends, name, value = [cudnn.conv, cudnn.rnn, products], 'fp32_precision', 'ieee'
        before = [getattr(backend, name) for backend in backends]
    for backend in backends:
        setattr(backend, name, value)
    try:
        yield
    finally:
        for backend, setting in zip(backends, before, strict=True):
            setattr(backend, name, setting)


def kept(limit: int) -> Callable:
    """Decorator of a function of sizes and a device: its last ``limit`` different results are handed out again.

    Results that are no plain tensors (a compiler's, or fake ones) or that autograd could not use are not kept.
    """

    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        results: dict[tuple, Tensor] = {}

        @wraps(function)
        def call(*key) -> Tensor:
            if torch.compiler.is_compiling():
                return function(*key)
            found = results.get(key)
            if found is None:
                found = function(*key)
                if type(found) is Tensor and not found.is_inference():
                    results[key] = found
                    if len(results) > limit:
                        results.pop(next(iter(results)), None)
            return found

        return call

    return decorate


class OnTheWay:
    """Tensors on their way to the host, perhaps from a GPU, which goes on with its work meanwhile.

    Args:
        tensors: to be copied; ``None`` stays.

    Attributes:
        on_gpu: whether any comes from a GPU.
    """

    def __init__(self, tensors: Sequence[Tensor | None]) -> None:
        self.on_gpu = any(tensor is not None and tensor.is_cuda for tensor in tensors)
        self._tensors = [
            None if tensor is None else tensor.to('cpu', non_blocking=tensor.is_cuda) for tensor in tensors
        ]
        self._event = torch.cuda.Event() if self.on_gpu else None
        if self._event is not None:
            self._event.record()

    def arrived(self) -> list[np.ndarray | None]:
        """The values, waited for."""
        if self._event is not None:
            self._event.synchronize()
        return [None if tensor is None else tensor.numpy() for tensor in self._tensors]

    def get(self) -> Any:
        """What is made of them."""
        return self.arrived()


def in_turn(steps: Iterator[OnTheWay]) -> Iterator[Any]:
    """Results as they come; those of a GPU when the next frame is on its way, so that it never waits for the host."""
    before: OnTheWay | None = None
    try:
        for pending in steps:
            if before is not None:
                yield before.get()
            before = pending if pending.on_gpu else None
            if before is None:
                yield pending.get()
    except Exception:
        # A frame that cannot be read takes none of those before it along.
        if before is not None:
            yield before.get()
        raise
    if before is not None:
        yield before.get()
