"""What code would ask of a GPU, counted without one.

Inside :class:`OpCounter` every tensor is fake: it has a shape, a type and a device, which may be ``cuda``, and no
numbers. So no operation takes time, and none needs a GPU. Code whose control flow depends on numbers cannot run, nor
can a backward pass, as autograd asks the driver for the device. Older releases of PyTorch, 2.6 among them, ask the
driver for every index of a fake tensor as well; where there is none, the test that counts is skipped::

    with OpCounter() as counter:
        counter.to_device(model)
        frame = torch.empty(3, 480, 854, device='cuda')
        counter.reset()
        step(frame)
    assert counter.total <= 250 and not counter.waits, counter
"""

import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
ROOT = Path(__file__).resolve().parents[1]

# Questions about a tensor, and a view that its schema does not declare as one.
NO_KERNEL = {torch.ops.prim.device.default, aten._unsafe_view.default}


def _asks_the_driver() -> bool:
    with FakeTensorMode():
        try:
            torch.empty(1, device='cuda')[0]
        except RuntimeError as error:
            if 'driver' not in str(error):
                raise
            return True
    return False


ASKS_THE_DRIVER = _asks_the_driver()


class OpCounter(TorchDispatchMode):
    """A context of fake tensors that counts operations on the device, and whatever makes the host wait for it.

    The host waits for a number that Python asks for (``item``, ``int``, ``bool``, ``tolist``; it reads as 1), for a
    copy between host and device that is not ``non_blocking`` or comes from memory that is not pinned, and for an index
    that lies on the host, as a list does. What has as many results as there are True values, such as an index of bool,
    stops with PyTorch's ``DynamicOutputShapeException``.

    Attributes:
        ops: name of an operation to how often it ran on the device, views left out: about one kernel each.
        waits: a line for each wait, with what it was and where in this repository.
        copies: number of copies between host and device that nothing waits for.
    """

    def __init__(self) -> None:
        if ASKS_THE_DRIVER:
            pytest.skip(f'PyTorch {torch.__version__} has no fake tensors of CUDA on a machine without its driver')
        super().__init__()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._pinned: dict[int, Any] = {}
        self.reset()

    def reset(self) -> None:
        """Count from 0 again."""
        self.ops: Counter[str] = Counter()
        self.waits: list[str] = []
        self.copies = 0

    @property
    def total(self) -> int:
        """Operations on the device."""
        return self.ops.total()

    def __str__(self) -> str:
        most = ', '.join(f'{count} x {name}' for name, count in self.ops.most_common(10))
        return '\n  '.join(
            [f'{self.total} operations ({most}), {self.copies} copies, {len(self.waits)} waits', *self.waits]
        )

    def pin(self, tensor: Tensor) -> Tensor:
        """The fake tensor itself, whose memory counts as pinned from now on, as that of a batch of a loader."""
        storage = tensor.untyped_storage()
        self._pinned[storage._cdata] = storage
        return tensor

    @staticmethod
    def to_device(module: nn.Module, device: str = 'cuda') -> nn.Module:
        """A module that was built outside, its weights replaced by fake ones on the device; it is of no use outside."""
        return module._apply(lambda value: torch.empty_like(value, device=device))

    def __enter__(self) -> 'OpCounter':
        self._fake.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._fake.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = _tensors((args, kwargs))
        if func is aten.is_pinned.default:
            return self._is_pinned(args[0])
        if func is aten._local_scalar_dense.default and tensors[0].is_cuda:
            self._wait('a number is asked for')
            return 1.0 if args[0].is_floating_point() else 1
        pinned = kwargs.pop('pin_memory', False) or func is aten._pin_memory.default
        found = (aten.clone.default if func is aten._pin_memory.default else func)(*args, **kwargs)
        if pinned:
            self.pin(found)
        self._note(func, tensors, found, kwargs.get('non_blocking', any(value is True for value in args[2:3])))
        return found

    def _note(self, func: Any, tensors: list[Tensor], found: Any, non_blocking: bool) -> None:
        inside = {tensor.is_cuda for tensor in [*tensors, *_tensors(found)]}
        if func.is_view or func in NO_KERNEL or True not in inside:
            return
        self.ops[str(func)] += 1
        if func in (aten._to_copy.default, aten.copy_.default) and len(inside) == 2:
            source = tensors[-1]
            if not non_blocking or not (source.is_cuda or self._is_pinned(source)):
                self._wait('a copy to the device' if found.is_cuda else 'a copy to the host')
            else:
                self.copies += 1
        elif str(func).startswith('aten.index') and len(inside) == 2:
            self._wait('an index lies on the host')

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._pinned

    def _wait(self, what: str) -> None:
        stack = [frame for frame in traceback.extract_stack() if frame.filename != __file__]
        here = [frame for frame in stack if ROOT in Path(frame.filename).parents] or stack
        self.waits.append(f'{what}: {here[-1].filename.removeprefix(f"{ROOT}/")}:{here[-1].lineno}: {here[-1].line}')


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
