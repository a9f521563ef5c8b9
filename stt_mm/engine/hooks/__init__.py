"""Hooks that configs name."""

from stt_mm.engine.hooks.checkpoint_hook import CheckpointHook
from stt_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from stt_mm.engine.hooks.fixed_rate_hook import FixedRateHook
from stt_mm.engine.hooks.stop_signal_hook import StopSignalHook

__all__ = ['CheckpointHook', 'FiniteLossHook', 'FixedRateHook', 'StopSignalHook']
