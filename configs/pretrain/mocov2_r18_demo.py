# MoCo v2 at a size that a laptop trains: views of 96 x 96 of the frames in demo/data/clips, 1,024 keys, and a key
# encoder that keeps 0.99 of itself, since at 0.999 it would hardly move in so few steps. Watched on demo/data/davis
# (DAVIS layout, first 25 frames).
_base_ = ['./mocov2_r18_in1k.py', '../_base_/datasets/demo.py']
model = dict(queue_len=1024, momentum=0.01)
train_dataloader = dict(
    num_workers=1, pin_memory=False, dataset=dict(data_root='demo/data/clips', pipeline=_base_.demo_pipeline)
)
val_dataloader = _base_.demo_davis
val_cfg = dict(model=dict(propagator=dict(protocol=dict(short_side=320))))
param_scheduler = dict(end=600, T_max=600)
train_cfg = dict(max_iters=600, val_interval=600)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
