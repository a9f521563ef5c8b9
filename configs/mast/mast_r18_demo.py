# MAST at a size that a laptop trains: 128 x 128 crops of any videos, batch 8. Trains on demo/data/clips and validates
# on demo/data/davis.
_base_ = ['./mast_r18_ytv.py', '../_base_/datasets/demo.py']
model = dict(propagator=dict(protocol=dict(short_side=320)))
train_dataloader = dict(_base_.demo_clips, _delete_=True)
val_dataloader = _base_.demo_davis
test_dataloader = _base_.demo_davis
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[60, 80], gamma=0.5)]
train_cfg = dict(max_iters=100, val_interval=100)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50))
