# MoCo v2, ResNet-18, 200 epochs of ImageNet, 8 processes x 32 images (STT, Table 3: J&F 60.8).
_base_ = [
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_200e_in1k.py',
    '../_base_/pretrain/watch_davis.py',
    '../_base_/pretrain/runtime.py',
]
# 65,536 keys; the key encoder keeps 0.999 of itself, which MMEngine counts from the other side.
model = dict(
    type='mmpretrain.MoCo',
    queue_len=65536,
    feat_dim=128,
    momentum=0.001,
    data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        non_blocking=True,
    ),
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='BN'), zero_init_residual=False),
    neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=512, hid_channels=512, out_channels=128, with_avg_pool=True),
    head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2),
)
# BatchNorm per process: the keys are shuffled between processes instead.
sync_bn = None
