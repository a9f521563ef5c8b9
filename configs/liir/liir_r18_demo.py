# LIIR, second stage, at a size that a laptop trains; starts from the first one.
_base_ = ['./liir_r18_ytv.py', '../_base_/datasets/demo.py']
model = dict(
    backbone=dict(
        position=dict(size=(64, 64)),
        init_cfg=dict(checkpoint='work_dirs/liir_r18_demo_warmup/iter_100.pth'),
    ),
    # As many frames as 15 iterations see.
    negatives=dict(frames=120, incoming=None),
    propagator=dict(protocol=dict(short_side=320)),
)
train_dataloader = dict(_base_.demo_clips, _delete_=True)
val_dataloader = _base_.demo_davis
test_dataloader = _base_.demo_davis
train_cfg = dict(max_iters=50, val_interval=50)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=25))
