"""The fixes that MMEngine 0.10 and mmpretrain 1.2 need, all in one place.

1. ``to_plain`` and ``from_plain``: MMEngine's checkpoints hold ``HistoryBuffer`` objects and numpy arrays, which
   ``torch.load(weights_only=True)``, the default since PyTorch 2.6, refuses. Can go when MMEngine writes plain data.
2. ``prepare_runtime`` and ``finish_runtime``: MMEngine's launchers select a CUDA device even with gloo, its DDP wrapper
   passes device ids that a CPU model must not have, and its Runner never leaves the process group. Can go when
   ``Runner`` starts and ends with ``torchrun`` on a machine without a GPU.
   ``broadcast_buffers``: its DDP wrapper leaves to each process its own running statistics, while a file holds those of
   rank 0. Can go when it does not.
3. ``AutocastOptimWrapper`` and ``enable_amp``: MMEngine's ``AmpOptimWrapper`` refuses a machine without a GPU. Can go
   when it does not.
4. ``trusted_path``: MMEngine calls ``torch.load`` without ``weights_only``, so nobody can choose. Can go when
   ``Runner.load_checkpoint`` takes that argument.
5. ``check_queue``: mmpretrain's queues take batches of some sizes only and say so by an assertion in the first
   iteration. Can go when they take any.

Nothing happens at import: no class of MMEngine or PyTorch is changed.
"""

import datetime
import gc
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from stt_mm.errors import InputError
from stt_mm.registry import MODELS, OPTIM_WRAPPERS
from stt_mm.utils.checkpoint import read_checkpoint

_HISTORY, _ARRAY = '__history__', '__array__'
_ATOMS = (str, bool, int, float, bytes, type(None), torch.Tensor, torch.dtype, torch.device)
TRUSTED_SCHEME = 'trusted:'


def to_plain(value: Any, name: str = 'checkpoint') -> Any:
    """Data that ``torch.load(weights_only=True)`` can read: tensors, numbers, strings, lists, tuples and dicts.

    Args:
        value: anything nested. It is not changed; tensors are not copied.
        name: how an error calls ``value``, extended by the keys on the way down.

    Returns:
        The same structure. History buffers and numpy arrays become marked dicts that :func:`from_plain` turns back;
        numpy scalars, paths and mappings of other classes become their plain counterparts for good.

    Raises:
        TypeError: if something has no plain form; the message names its key.
    """
    if isinstance(value, _ATOMS):
        return _plain_atom(value)
    if isinstance(value, HistoryBuffer):
        log, count = (torch.from_numpy(np.array(part)) for part in value.data)
        return {_HISTORY: {'log': log, 'count': count, 'max_length': value.max_length}}
    if isinstance(value, np.generic):
        return to_plain(value.item(), name)
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufcSU':
        return {_ARRAY: value.reshape(-1).tolist(), 'dtype': str(value.dtype), 'shape': tuple(value.shape)}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, name)
    if isinstance(value, tuple):
        return tuple(to_plain(item, f'{name}[{index}]') for index, item in enumerate(value))
    if isinstance(value, list):
        return [to_plain(item, f'{name}[{index}]') for index, item in enumerate(value)]
    raise TypeError(
        f'{name} is a {type(value).__module__}.{type(value).__qualname__}, which a checkpoint of plain '
        'data cannot hold. Store numbers, strings, tensors, arrays, lists, tuples or dicts instead.'
    )


def _plain_atom(value: Any) -> Any:
    for kind in (bool, int, float, str, bytes):
        if isinstance(value, kind):
            return kind(value)
    return value


def _plain_mapping(value: Mapping, name: str) -> dict:
    plain: dict = OrderedDict() if isinstance(value, OrderedDict) else {}
    for key, item in value.items():
        plain[to_plain(key, f'a key of {name}')] = to_plain(item, f'{name}.{key}')
    if hasattr(value, '_metadata'):  # the layer versions of a state dict
        plain._metadata = value._metadata
    return plain


def from_plain(value: Any) -> Any:
    """The inverse of :func:`to_plain` for history buffers and numpy arrays, whatever device the tensors are on."""
    if isinstance(value, dict):
        if _HISTORY in value:
            stored = value[_HISTORY]
            return HistoryBuffer(stored['log'].cpu().numpy(), stored['count'].cpu().numpy(), stored['max_length'])
        if _ARRAY in value:
            return np.array(value[_ARRAY], dtype=value['dtype']).reshape(value['shape'])
        plain = type(value)((key, from_plain(item)) for key, item in value.items())
        if hasattr(value, '_metadata'):
            plain._metadata = value._metadata
        return plain
    if type(value) in (list, tuple):
        return type(value)(from_plain(item) for item in value)
    return value


def trusted_path(path: str | os.PathLike) -> str:
    """A name under which MMEngine's ``load_from`` reads a local file with full unpickling.

    Only for files whose origin the user vouches for: unpickling can run any code. Other names keep their reader.
    """
    CheckpointLoader.register_scheme(prefixes=TRUSTED_SCHEME, loader=_read_trusted, force=True)
    return TRUSTED_SCHEME + os.path.abspath(os.path.expanduser(path))


def _read_trusted(filename: str, map_location: Any = None) -> Any:
    return read_checkpoint(filename.removeprefix(TRUSTED_SCHEME), trust=True, map_location=map_location)


def prepare_runtime(cfg: Config, launcher: str) -> None:
    """Make a distributed run possible on machines without CUDA; does nothing with one, or for a single process.

    Starts the gloo process group from the launcher's environment, before the Runner would start its own, and writes
    into ``cfg``: a DDP wrapper without device ids, and no SyncBN, which exists on GPUs only.
    """
    if launcher == 'none' or torch.cuda.is_available() or get_device() != 'cpu':
        return
    if not torch.distributed.is_initialized():
        _export_rank(launcher)
        seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        timeout = None if seconds is None else datetime.timedelta(seconds=seconds)
        torch.distributed.init_process_group('gloo', timeout=timeout)
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
    without = ', without SyncBN' if cfg.get('sync_bn') else ''
    cfg.sync_bn = None
    if torch.distributed.get_rank() == 0:
        count = torch.distributed.get_world_size()
        print_log(f'No CUDA device: {count} processes on the CPU with gloo{without}.', logger='current')


def finish_runtime(together: bool = True) -> None:
    """Leave the process group, and thereby end its threads; nothing for a single process.

    Nobody may refer to the runner or the model any more: they hold the group, and a thread of it that is alive when the
    interpreter is taken down now and then aborts the process.

    Args:
        together: wait for the other processes, which then must come here too.
    """
    if torch.distributed.is_initialized():
        if together:
            torch.distributed.barrier()
        gc.collect()
        torch.distributed.destroy_process_group()


def bare(model: nn.Module) -> nn.Module:
    """The model without the wrapper of distributed runs."""
    return model.module if is_model_wrapper(model) else model


def broadcast_buffers(model: nn.Module) -> None:
    """Give all ranks the buffers of rank 0, such as BatchNorm's running statistics. Every rank must call it."""
    for buffer in model.buffers():
        broadcast(buffer)


def _export_rank(launcher: str) -> None:
    """Set torchrun's environment variables from those of Slurm or Open MPI, for one node unless MASTER_ADDR is set."""
    names = dict(
        pytorch=('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
        slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
        mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    )[launcher]
    lacking = [name for name in names if name not in os.environ]
    if lacking:
        raise InputError(
            f'--launcher {launcher} expects the environment variables {", ".join(names)}; not set: '
            f'{", ".join(lacking)}. Start it with tools/dist_train.sh, srun or mpirun.'
        )
    for ours, theirs in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), names, strict=True):
        os.environ[ours] = os.environ[theirs]
    os.environ.setdefault('MASTER_ADDR', os.environ.get('SLURM_LAUNCH_NODE_IPADDR', '127.0.0.1'))
    os.environ.setdefault('MASTER_PORT', '29500')


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision by bfloat16 on any device, without loss scaling; its arguments are those of the base class."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Forward passes inside run in mixed precision and, while gradients accumulate, without a DDP exchange."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield


def enable_amp(cfg: Config) -> None:
    """Switch a training config to mixed precision: float16 with loss scaling on CUDA, bfloat16 without on the CPU.

    On CUDA the ``dtype`` and ``loss_scale`` of the config, which is changed in place, are kept.
    """
    wrapper = cfg.get('optim_wrapper')
    known = ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper')
    kind = wrapper.get('type', 'OptimWrapper') if wrapper else None
    if kind not in known:
        raise InputError(f'--amp works with optim_wrapper.type {", ".join(known)}; the config has {kind}.')
    if torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
        wrapper.setdefault('dtype', 'float16')
    else:
        wrapper.type = 'AutocastOptimWrapper'
        for key in ('loss_scale', 'dtype'):
            wrapper.pop(key, None)


def check_queue(cfg: Config, world_size: int) -> None:
    """Refuse a batch that mmpretrain's MoCo and DenseCL cannot put into their queue.

    They, and what derives from them, write the keys of all processes in one piece and only assert, in the first
    iteration, that the queue is a multiple of it. Can go when they take any batch.

    Args:
        cfg: config of the run; in joint training the images of ``model.image_branch`` have their own loader.
        world_size: number of processes.
    """
    branch = cfg.model.get('image_branch')
    model, loader, names = (
        (cfg.model, cfg.train_dataloader, ('train_dataloader', 'model'))
        if branch is None
        else (branch, cfg.train_cfg.get('image_dataloader'), ('train_cfg.image_dataloader', 'model.image_branch'))
    )
    kinds = getattr(MODELS.get(model.type), '__mro__', ())
    if loader is None or not any(
        kind.__module__.startswith('mmpretrain.') and kind.__name__ in ('MoCo', 'DenseCL') for kind in kinds
    ):
        return
    size, length = loader.batch_size, model.get('queue_len', 65536)
    if length % (size * world_size):
        raise InputError(
            f'{model.type} needs a queue that is a multiple of the total batch, got queue_len={length} '
            f'and {size} images x {world_size} processes = {size * world_size}. Change '
            f'{names[0]}.batch_size or {names[1]}.queue_len, such as to a power of two.'
        )
