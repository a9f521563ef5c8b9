# How one image becomes several views, and the loader of ImageNet-1k train (1,281,167 images, no labels), 32 images per
# process. Variables, which other configs put where they are needed.
_jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
_jitter = dict(type='RandomApply', transforms=[_jitter], prob=0.8)
# Weights of blue, green and red.
_grey = dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989))
_blur = dict(type='mmpretrain.GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5)
_flip = dict(type='RandomFlip', prob=0.5)

# Two views as in MoCo v2.
_crop = dict(type='mmpretrain.RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow')
_global_view = [_crop, _jitter, _grey, _blur, _flip]
_views = dict(type='mmpretrain.MultiView', num_views=2, transforms=[_global_view])
mocov2_pipeline = [
    dict(type='LoadImage'),
    dict(type='SeededCompose', transforms=[_views]),
    dict(type='mmpretrain.PackInputs'),
]

# Besides, for DetCo, two mosaics of nine patches, cut out of the image and not out of a global view. Both kinds change
# their looks alike; that patches become grey too is ours.
_crop = dict(type='mmpretrain.RandomResizedCrop', scale=255, crop_ratio_range=(0.6, 1.0), backend='pillow')
_local_view = [_crop, _jitter, _grey, _blur, _flip, dict(type='JigsawMosaic', grid=3, patch_size=64)]
_views = dict(type='mmpretrain.MultiView', num_views=[2, 2], transforms=[_global_view, _local_view])
detco_pipeline = [
    dict(type='LoadImage'),
    dict(type='SeededCompose', transforms=[_views]),
    dict(type='mmpretrain.PackInputs'),
]

# MoCo v2 of frames of the bundled clips: views of 96 x 96.
_crop = dict(type='mmpretrain.RandomResizedCrop', scale=96, crop_ratio_range=(0.1, 0.6), backend='pillow')
_blur = dict(type='mmpretrain.GaussianBlur', magnitude_range=(0.1, 1.0), magnitude_std='inf', prob=0.5)
_views = dict(type='mmpretrain.MultiView', num_views=2, transforms=[[_crop, _jitter, _grey, _blur, _flip]])
demo_pipeline = [
    dict(type='LoadImage'),
    dict(type='SeededCompose', transforms=[_views]),
    dict(type='mmpretrain.PackInputs'),
]

imagenet = dict(
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
        pipeline=mocov2_pipeline,
    ),
)
