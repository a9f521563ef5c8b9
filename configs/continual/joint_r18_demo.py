# Joint learning at a size that a laptop trains: 8 clips and 16 images per step from demo/data/clips, 1,024 keys.
_base_ = './joint_r18_ytv.py'
model = dict(image_branch=dict(queue_len=1024, momentum=0.01), propagator=dict(protocol=dict(short_side=320)))
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        _delete_=True,
        type='VideoFolder',
        data_root='demo/data/clips',
        clip_length=2,
        interval=(1, 2, 3),
        pipeline=[
            dict(type='LoadFrames'),
            dict(type='ClipRandomResizedCrop', size=(128, 128), area=(0.1, 0.6), aspect=(0.75, 1.5)),
            dict(type='ClipFlip', prob=0.5),
            dict(type='PackClip'),
        ],
    ),
)
train_cfg = dict(
    max_iters=100,
    val_interval=100,
    image_dataloader=dict(
        batch_size=16,
        num_workers=1,
        pin_memory=False,
        dataset=dict(
            data_root='demo/data/clips',
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
                                        scale=96,
                                        crop_ratio_range=(0.1, 0.6),
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
                                        magnitude_range=(0.1, 1.0),
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
val_dataloader = dict(dataset=dict(data_root='demo/data/davis', max_frames=25))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=100, T_max=100),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50))
