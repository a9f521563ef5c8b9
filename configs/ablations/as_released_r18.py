# The released schedule: 44,000 iterations at batch 64 (16 x 4), rate 5e-5. The numerics are those of stt_r18_ytv. The
# released config is for ResNet-50 (as_released_r50); that it was the same for ResNet-18 is our guess.
# changed keys: optim_wrapper.optimizer.lr param_scheduler train_cfg.max_iters train_dataloader.batch_size
# changed keys: auto_scale_lr.base_batch_size
_base_ = '../stt_r18_ytv.py'
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=44000, T_max=44000),
]
train_cfg = dict(max_iters=44000)
train_dataloader = dict(batch_size=16)
auto_scale_lr = dict(base_batch_size=64)
