# Joint learning from images and videos, L = L_nce + gamma * L_t, from scratch (paper Table 2, row "Spatiotemporal",
# which is for ResNet-50). The paper gives neither gamma nor the batches: ours. 4 GPUs x (32 clips and 64 images).
_base_ = '../stt_r18_ytv.py'
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
        ),
        neck=dict(
            type='mmpretrain.MoCoV2Neck', in_channels=512, hid_channels=512, out_channels=128, with_avg_pool=True
        ),
        head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2),
    ),
)
# One batch of train_dataloader (videos) and one of image_dataloader in each step.
train_cfg = dict(
    type='JointIterLoop',
    image_dataloader=dict(
        batch_size=64,
        num_workers=8,
        persistent_workers=True,
        pin_memory=True,
        drop_last=True,
        sampler=dict(type='TrainSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='ImageFolder',
            data_root='{{$STT_DATA:data}}/ImageNet/train',
            on_error='raise',
            pipeline=[
                dict(type='LoadImage'),
                dict(
                    type='SeededCompose',
                    transforms=[
                        dict(
                            type='mmpretrain.MultiView',
                            num_views=2,
                            transforms=[
                                [
                                    dict(
                                        type='mmpretrain.RandomResizedCrop',
                                        scale=224,
                                        crop_ratio_range=(0.2, 1.0),
                                        backend='pillow',
                                    ),
                                    dict(
                                        type='RandomApply',
                                        transforms=[
                                            dict(
                                                type='ColorJitter',
                                                brightness=0.4,
                                                contrast=0.4,
                                                saturation=0.4,
                                                hue=0.1,
                                            )
                                        ],
                                        prob=0.8,
                                    ),
                                    # Weights of blue, green and red.
                                    dict(
                                        type='RandomGrayscale',
                                        prob=0.2,
                                        keep_channels=True,
                                        channel_weights=(0.114, 0.587, 0.2989),
                                    ),
                                    dict(
                                        type='mmpretrain.GaussianBlur',
                                        magnitude_range=(0.1, 2.0),
                                        magnitude_std='inf',
                                        prob=0.5,
                                    ),
                                    dict(type='RandomFlip', prob=0.5),
                                ]
                            ],
                        ),
                    ],
                ),
                dict(type='mmpretrain.PackInputs'),
            ],
        ),
    ),
)
