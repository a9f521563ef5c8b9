# ImageNet-1k train (1,281,167 images) without labels, two views of each as in MoCo v2; 32 images per process.
train_dataloader = dict(
    batch_size=32,
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
                                        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
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
)
