# Joint learning from images and videos, L = L_nce + gamma * L_t, from scratch (paper Table 2, row "Spatiotemporal",
# which is for ResNet-50). The paper gives neither gamma nor the batches: ours. 4 GPUs x (32 clips and 64 images).
_base_ = ['../stt_r18_ytv.py', '../_base_/datasets/image_views.py']
model = dict(
    type='Joint',
    gamma=1.0,
    # True: running BatchNorm statistics of images and of videos apart.
    dual_bn=False,
    backbone=dict(init_cfg=None),
    global_head=None,
    teacher=None,
    image_stages=('res5',),
    # MoCo v2 as in pretrain/mocov2_r18_in1k.py.
    image_branch=dict(
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
        neck=dict(
            type='mmpretrain.MoCoV2Neck', in_channels=512, hid_channels=512, out_channels=128, with_avg_pool=True
        ),
        head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2),
    ),
)
# One batch of train_dataloader (videos) and one of image_dataloader in each step.
train_cfg = dict(type='JointIterLoop', image_dataloader=dict(_base_.imagenet, batch_size=64))
