# Adam at 1e-3 for a batch of 12 pairs, halved after 0.4, 0.6, 0.8 and 1.0 million of them, as in the released code of
# MAST. Its epoch is 69,600 pairs, 5,800 iterations.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.0))
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[33333, 50000, 66667, 83333], gamma=0.5)]
train_cfg = dict(type='IterLoop', max_iters=116000, val_interval=11600)
auto_scale_lr = dict(base_batch_size=12, enable=False)
