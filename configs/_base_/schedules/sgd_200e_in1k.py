# SGD at 0.03 for a batch of 256, half-period cosine to 0, no warm-up. 200 epochs of ImageNet, counted in iterations:
# 200 x floor(1,281,167 / 256) = 200 x 5,004. The rate falls at each iteration, not at each epoch.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=1000800, T_max=1000800)
train_cfg = dict(type='IterLoop', max_iters=1000800, val_interval=50040)
auto_scale_lr = dict(base_batch_size=256, enable=False)
