# Adam at 1e-4 for a batch of 128, half-period cosine to 1e-3 of it under a linear warm-up; iterations, not epochs.
# The released code's 5e-5 at batch 64 is the same rate under linear scaling (--auto-scale-lr).
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=90000, T_max=90000),
]
train_cfg = dict(type='IterLoop', max_iters=90000, val_interval=10000)
auto_scale_lr = dict(base_batch_size=128, enable=False)
