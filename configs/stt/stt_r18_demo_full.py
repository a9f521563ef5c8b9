# The full method at a size that a laptop trains: 128 x 128 crops of any videos, batch 8, with a student and a teacher
# from STT_STAGE1_R18, such as a checkpoint of configs/pretrain/mocov2_r18_demo.py.
_base_ = ['../stt_r18_ytv.py', '../_base_/datasets/demo.py']
model = dict(propagator=dict(protocol=dict(short_side=320)))
train_dataloader = dict(_base_.demo_clips, _delete_=True)
val_dataloader = _base_.demo_davis
test_dataloader = _base_.demo_davis
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=300, T_max=300),
]
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
