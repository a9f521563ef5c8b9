# The bundled videos, for a training at a size that a laptop trains: pairs of frames of demo/data/clips to learn from,
# and demo/data/davis (DAVIS layout, first 25 frames) to validate on. Variables, which other configs put where they are
# needed.
demo_clips = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    pin_memory=False,
    drop_last=True,
    sampler=dict(type='TrainSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
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
demo_davis = dict(dataset=dict(data_root='demo/data/davis', max_frames=25))
