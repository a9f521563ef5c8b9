# Joint learning from images and videos (paper Table 2, row "Spatiotemporal": J&F 68.6). 4 GPUs x (16 clips and 64
# images).
_base_ = './joint_r18_ytv.py'
model = dict(backbone=dict(depth=50), image_branch=dict(neck=dict(in_channels=2048, hid_channels=2048)))
train_dataloader = dict(batch_size=16)
# Length and rate of ResNet-50, as in _base_/schedules/adam_45k.py.
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=45000, T_max=45000),
]
train_cfg = dict(max_iters=45000, val_interval=5000)
auto_scale_lr = dict(base_batch_size=64)
