# What is the same for every training and evaluation.
default_scope = 'stt_mm'
# The tools make a folder for each config in it.
work_dir = 'work_dirs'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=3, save_best='J&F-Mean', rule='greater'
    ),
)
custom_hooks = [dict(type='StopSignalHook'), dict(type='FiniteLossHook')]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
# SyncBN when distributed on GPUs; the tools switch it off elsewhere.
sync_bn = 'torch'

visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])

log_processor = dict(window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
