"""What runs a training: loop, hooks, mixed precision, config checks."""

from stt_mm.engine.compat import (
    AutocastOptimWrapper,
    bare,
    check_queue,
    enable_amp,
    finish_runtime,
    from_plain,
    prepare_runtime,
    to_plain,
    trusted_path,
)
from stt_mm.engine.config import check_keys, flatten, load_config, override, values_of
from stt_mm.engine.hooks import CheckpointHook, FiniteLossHook, FixedRateHook, StopSignalHook
from stt_mm.engine.loops import IterLoop, JointIterLoop
from stt_mm.engine.propagation_val_loop import PropagationValLoop
from stt_mm.engine.run_log import run_log
from stt_mm.engine.runner import Runner

__all__ = [
    'AutocastOptimWrapper',
    'CheckpointHook',
    'FiniteLossHook',
    'FixedRateHook',
    'IterLoop',
    'JointIterLoop',
    'PropagationValLoop',
    'Runner',
    'StopSignalHook',
    'bare',
    'check_keys',
    'check_queue',
    'enable_amp',
    'finish_runtime',
    'flatten',
    'from_plain',
    'load_config',
    'override',
    'prepare_runtime',
    'run_log',
    'to_plain',
    'trusted_path',
    'values_of',
]
