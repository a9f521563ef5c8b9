"""The newest keys or frames of a training, from which negatives are taken."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from torch import Tensor, nn

from stt_mm.errors import InputError


class MemoryBank(nn.Module):
    """A ring of the newest ``size`` entries, in buffers, so that checkpoints hold it and resuming restores it.

    An entry is a key of length 1, and the bank starts full of random directions, as MoCo's queue does; or it is some
    points of a frame with the number of its video, and the bank starts empty. In a distributed run every process writes
    the entries of all of them in the order of their ranks, so that the banks stay equal without being sent around.

    Attributes:
        queue: float ``[dim, size]``, columns of length 1; with ``points`` ``[size, points, dim]``. :meth:`enqueue`
            changes it in place, so a gradient through it is taken before, as by :func:`stt_mm.ops.early_gradient`.
        videos: with ``points``, int64 ``[size]``, the video of each entry, -1 where there is none yet.
        pointer: integer scalar, the entry that is overwritten next.

    Args:
        size: number of entries.
        dim: length of a key or a point.
        points: points of an entry; ``None``: an entry is one key.
        normalize: scale keys and points to length 1 before they are written.

    Raises:
        ValueError: if ``size``, ``dim`` or ``points`` is below 1.
    """

    def __init__(self, size: int = 65536, dim: int = 128, points: int | None = None, normalize: bool = True) -> None:
        super().__init__()
        if min(size, dim) < 1:
            raise InputError(f'MemoryBank needs a size and a dim of at least 1, got size={size}, dim={dim}.')
        if points is not None and points < 1:
            raise InputError(f'MemoryBank needs at least 1 of points, got {points}.')
        self.size = size
        self.dim = dim
        self.points = points
        self.normalize = normalize
        if points is None:
            self.register_buffer('queue', F.normalize(torch.randn(dim, size), dim=0))
        else:
            self.register_buffer('queue', torch.zeros(size, points, dim))
            self.register_buffer('videos', torch.full((size,), -1))
        self.register_buffer('pointer', torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, videos: Tensor | None = None) -> None:
        """Overwrite the oldest entries; at the end of the queue go on at its start.

        Args:
            keys: ``[B, dim]`` of this process, with ``points`` ``[B, points, dim]``; the same B in every process.
            videos: with ``points``, int64 ``[B]``, the number of each entry's video, 0 or larger.

        Raises:
            ValueError: if the shape is another one, or all processes together bring more keys than the queue holds.
        """
        entry = (self.dim,) if self.points is None else (self.points, self.dim)
        if keys.shape[1:] != entry or keys.dim() != 1 + len(entry):
            raise InputError(
                f'MemoryBank expects keys {["B", *entry]}, got {list(keys.shape)}. The dim of the bank '
                'must be the number of channels that the network returns.'.replace("'", '')
            )
        processes = get_world_size()
        if len(keys) * processes > self.size:
            raise InputError(
                f'{len(keys)} keys of each of {processes} process(es) do not fit a queue of {self.size}: '
                'choose a longer queue or a smaller batch.'
            )
        keys = keys.to(self.queue.dtype)
        if self.normalize:
            keys = F.normalize(keys, dim=-1)
        keys = torch.cat(all_gather(keys.contiguous()))
        slots = (self.pointer + torch.arange(len(keys), device=keys.device)) % self.size
        if self.points is None:
            self.queue.index_copy_(1, slots, keys.T)
        else:
            self.queue.index_copy_(0, slots, keys)
            self.videos.index_copy_(0, slots, torch.cat(all_gather(videos)))
        self.pointer.add_(len(keys)).remainder_(self.size)

    def extra_repr(self) -> str:
        entry = '' if self.points is None else f', points={self.points}'
        return f'size={self.size}, dim={self.dim}{entry}'
