"""What devices do on their own: copies for which the host does not wait, results that are kept, and precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

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
