"""What runs a training: loop, hooks, mixed precision, config checks."""

from stt_mm.engine.compat import (
    AutocastOptimWrapper,
    enable_amp,
    finish_runtime,
    from_plain,
    prepare_runtime,
    to_plain,
    trusted_path,
)
from stt_mm.engine.config import check_keys, load_config, unknown_keys
from stt_mm.engine.hooks import CheckpointHook, StopSignalHook
from stt_mm.engine.loops import IterLoop

__all__ = [
    'AutocastOptimWrapper', 'CheckpointHook', 'IterLoop', 'StopSignalHook', 'check_keys', 'enable_amp',
    'finish_runtime', 'from_plain', 'load_config', 'prepare_runtime', 'to_plain', 'trusted_path', 'unknown_keys',
]
