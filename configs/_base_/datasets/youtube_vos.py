# Pairs of adjacent frames of YouTube-VOS train (3,471 videos at 6 frames per second); one item is one video.
train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='TrainSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='YouTubeVOS',
        data_root='{{$STT_DATA:data}}/YouTubeVOS',
        split='train',
        clip_length=2,
        interval=1,
        on_error='raise',
        pipeline=[
            dict(type='LoadFrames'),
            dict(type='ClipRandomResizedCrop', size=(256, 256), area=(0.6, 1.0), aspect=(1.5, 2.0)),
            dict(type='ClipFlip', prob=0.5),
            dict(type='PackClip'),
        ],
    ),
)
