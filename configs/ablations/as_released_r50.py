# The one training config that was released: ResNet-50 student and teacher, 44,000 iterations at batch 64 (16 x 4), rate
# 5e-5. The numerics are those of stt_r50_ytv.
# changed keys: param_scheduler train_cfg.max_iters
_base_ = '../stt_r50_ytv.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=44000, T_max=44000),
]
train_cfg = dict(max_iters=44000)
