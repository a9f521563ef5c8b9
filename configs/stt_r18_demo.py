# The temporal stage at a size that a laptop trains, from scratch and without a teacher: stt_r18_demo_full without res5
# and what hangs on it. Trains on demo/data/clips and validates on demo/data/davis as tools/quickstart.sh does.
_base_ = './stt/stt_r18_demo_full.py'
model = dict(backbone=dict(out_indices=(1, 2), init_cfg=None), global_head=None, teacher=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=100, T_max=100),
]
train_cfg = dict(max_iters=100, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=50))
