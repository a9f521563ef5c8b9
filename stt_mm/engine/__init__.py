"""What runs a training: loop, hooks, mixed precision, config checks; each part is imported when it is asked for."""

from stt_mm.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'compat': (
            'AutocastOptimWrapper',
            'bare',
            'check_queue',
            'enable_amp',
            'finish_runtime',
            'from_plain',
            'prepare_runtime',
            'to_plain',
            'trusted_path',
        ),
        'config': ('check_keys', 'flatten', 'load_config', 'load_model_config', 'override', 'values_of'),
        'hooks': ('CheckpointHook', 'FiniteLossHook', 'FixedRateHook', 'StopSignalHook'),
        'loops': ('IterLoop', 'JointIterLoop'),
        'propagation_val_loop': ('PropagationValLoop',),
        'run_logs': ('RunLog', 'run_log'),
        'runner': ('Runner',),
    },
)
