# SimSiam, ResNet-18, 200 epochs of ImageNet, 8 processes x 32 images (STT, Table 3: J&F 62.0).
_base_ = [
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_200e_in1k.py',
    '../_base_/pretrain/watch_davis.py',
    '../_base_/pretrain/runtime.py',
]
# The widths that the official code gives a ResNet-18: the projector is as wide as the backbone and ends at 2048.
model = dict(
    type='mmpretrain.SimSiam',
    data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        non_blocking=True,
    ),
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='BN'), zero_init_residual=True),
    neck=dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=512,
        hid_channels=512,
        out_channels=2048,
        num_layers=3,
        with_last_bn_affine=False,
        with_avg_pool=True,
        norm_cfg=dict(type='BN1d'),
    ),
    head=dict(
        type='mmpretrain.LatentPredictHead',
        loss=dict(type='mmpretrain.CosineSimilarityLoss'),
        predictor=dict(
            type='mmpretrain.NonLinearNeck',
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            with_avg_pool=False,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=dict(type='BN1d'),
        ),
    ),
)
# 0.05 for a batch of 256; the predictor keeps that rate. sync_bn of the runtime synchronises all BatchNorm on GPUs.
optim_wrapper = dict(optimizer=dict(lr=0.05), paramwise_cfg=dict(custom_keys=dict(predictor=dict(fix_lr=True))))
custom_hooks = [dict(type='StopSignalHook'), dict(type='FiniteLossHook'), dict(type='FixedRateHook')]
