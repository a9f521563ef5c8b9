"""Reading files of the safetensors format: a length, a header in JSON, and the values of all tensors."""

import json
import math
import os
from pathlib import Path

import torch
from torch import Tensor

from stt_mm.errors import InputError

_DTYPES = {
    'F64': torch.float64,
    'F32': torch.float32,
    'F16': torch.float16,
    'BF16': torch.bfloat16,
    'I64': torch.int64,
    'I32': torch.int32,
    'I16': torch.int16,
    'I8': torch.int8,
    'U8': torch.uint8,
    'BOOL': torch.bool,
}


def is_safetensors(path: Path) -> bool:
    """Whether a file is called or begins like one of this format."""
    with open(path, 'rb') as file:
        start = file.read(9)
    return path.suffix == '.safetensors' or (
        start[8:] == b'{' and int.from_bytes(start[:8], 'little') <= path.stat().st_size
    )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Raises:
        InputError: the file is cut off, or its header is not one of this format; the message does not name the file.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        if length > size - 8:
            raise InputError(f'its header should have {length} bytes, and the file has {size}')
        try:
            header = json.loads(file.read(length))
            entries = {
                name: (
                    _DTYPES[entry['dtype']],
                    [int(side) for side in entry['shape']],
                    *map(int, entry['data_offsets']),
                )
                for name, entry in header.items()
                if name != '__metadata__'
            }
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise InputError(
                f'its header is not one of the safetensors format ({type(error).__name__}: {error})'
            ) from error
        values = bytearray(file.read())
    if len(values) != max((entry[3] for entry in entries.values()), default=0):
        raise InputError(
            'its tensors should have '
            f'{max((entry[3] for entry in entries.values()), default=0)} bytes, and have {len(values)}'
        )
    return {name: _tensor(name, values, *entry) for name, entry in entries.items()}


def _tensor(name: str, values: bytearray, dtype: torch.dtype, shape: list[int], start: int, stop: int) -> Tensor:
    count = math.prod(shape)
    if min([start, *shape]) < 0 or stop - start != count * dtype.itemsize:
        raise InputError(f'{name} of shape {shape} does not fit into bytes {start} to {stop}')
    if not count:
        return torch.empty(shape, dtype=dtype)
    # A copy where the values do not lie at a multiple of their size.
    return torch.frombuffer(values[start:stop], dtype=dtype).view(shape)
