"""The queue of past keys that momentum contrast takes its negatives from."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from torch import Tensor, nn

from stt_mm.errors import InputError


class MemoryBank(nn.Module):
    """A ring of the newest ``size`` keys, in buffers, so that checkpoints hold it and resuming restores it.

    It starts full of random directions, as MoCo's queue does. In a distributed run every process writes the keys of all
    of them in the order of their ranks, so that the banks stay equal without being sent around.

    Attributes:
        queue: float ``[dim, size]``, columns of length 1. :meth:`enqueue` changes it in place, so a gradient through it
            is taken before, as by :func:`stt_mm.ops.early_gradient`.
        pointer: integer scalar, the column that is overwritten next.

    Args:
        size: number of keys.
        dim: length of a key.

    Raises:
        ValueError: if ``size`` or ``dim`` is below 1.
    """

    def __init__(self, size: int = 65536, dim: int = 128) -> None:
        super().__init__()
        if min(size, dim) < 1:
            raise InputError(f'MemoryBank needs a size and a dim of at least 1, got size={size}, dim={dim}.')
        self.size = size
        self.dim = dim
        self.register_buffer('queue', F.normalize(torch.randn(dim, size), dim=0))
        self.register_buffer('pointer', torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Overwrite the oldest keys; at the end of the queue go on at its start.

        Args:
            keys: ``[B, dim]`` of this process, the same B in every process; scaled to length 1 before they are written.

        Raises:
            ValueError: if the shape is another one, or all processes together bring more keys than the queue holds.
        """
        if keys.dim() != 2 or keys.shape[1] != self.dim:
            raise InputError(
                f'MemoryBank expects keys [B, {self.dim}], got {list(keys.shape)}. The dim of the bank '
                'must be the number of channels that the projection head returns.'
            )
        processes = get_world_size()
        if len(keys) * processes > self.size:
            raise InputError(
                f'{len(keys)} keys of each of {processes} process(es) do not fit a queue of {self.size}: '
                'choose a longer queue or a smaller batch.'
            )
        keys = F.normalize(keys.to(self.queue.dtype), dim=1)
        keys = torch.cat(all_gather(keys.contiguous()))
        columns = (self.pointer + torch.arange(len(keys), device=keys.device)) % self.size
        self.queue.index_copy_(1, columns, keys.T)
        self.pointer.add_(len(keys)).remainder_(self.size)

    def extra_repr(self) -> str:
        return f'size={self.size}, dim={self.dim}'
