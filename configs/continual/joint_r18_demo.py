# Joint learning at a size that a laptop trains: 8 clips and 16 images per step from demo/data/clips, 1,024 keys.
_base_ = ['./joint_r18_ytv.py', '../_base_/datasets/demo.py']
model = dict(image_branch=dict(queue_len=1024, momentum=0.01), propagator=dict(protocol=dict(short_side=320)))
train_dataloader = dict(_base_.demo_clips, _delete_=True)
train_cfg = dict(
    max_iters=100,
    val_interval=100,
    image_dataloader=dict(
        batch_size=16,
        num_workers=1,
        pin_memory=False,
        dataset=dict(data_root='demo/data/clips', pipeline=_base_.demo_pipeline),
    ),
)
val_dataloader = _base_.demo_davis
test_dataloader = _base_.demo_davis
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=100, T_max=100),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50))
