# DetCo, ResNet-18, 200 epochs of ImageNet, 8 processes x 32 images: the first stage of most experiments of STT.
_base_ = [
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_200e_in1k.py',
    '../_base_/pretrain/watch_davis.py',
    '../_base_/pretrain/runtime.py',
]
# MoCo v2 at every stage, of images and of sets of nine patches; queues, temperature, average and schedule as MoCo v2.
# The sum of the 12 losses is about 6.6 times that of MoCo v2; with normalize=True it is not. The learning rate, 0.03 as
# MoCo v2's, is ours: none is known for this loss, only that one unofficial implementation has 0.015 for a batch of 128.
model = dict(
    type='DetCo',
    queue_len=65536,
    momentum=0.001,
    stage_weights=(0.1, 0.4, 0.7, 1.0),
    normalize=False,
    data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        non_blocking=True,
    ),
    backbone=dict(
        type='mmpretrain.ResNet', depth=18, out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN'), zero_init_residual=False
    ),
    neck=dict(type='DetCoNeck', in_channels=(64, 128, 256, 512), out_channels=128),
    head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2),
)
# BatchNorm per process: the keys are shuffled between processes instead.
sync_bn = None

train_dataloader = dict(dataset=dict(pipeline=_base_.detco_pipeline))
