# MoCo v2 at a size that a laptop trains: views of 96 x 96 of the frames in demo/data/clips, 1,024 keys, and a key
# encoder that keeps 0.99 of itself, since at 0.999 it would hardly move in so few steps. Watched on demo/data/davis
# (DAVIS layout, first 25 frames).
_base_ = './mocov2_r18_in1k.py'
model = dict(queue_len=1024, momentum=0.01)
train_dataloader = dict(
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
                                        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
                                    ],
                                    prob=0.8,
                                ),
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
)
val_dataloader = dict(dataset=dict(data_root='demo/data/davis', max_frames=25))
val_cfg = dict(model=dict(propagator=dict(protocol=dict(short_side=320))))
param_scheduler = dict(end=600, T_max=600)
train_cfg = dict(max_iters=600, val_interval=600)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
