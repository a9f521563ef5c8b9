# As adam_90k, half as long: the paper's length for ResNet-50 at batch 64, whose rate is half of that at 128.
_base_ = './adam_90k.py'
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=45000, T_max=45000),
]
train_cfg = dict(max_iters=45000, val_interval=5000)
auto_scale_lr = dict(base_batch_size=64)
