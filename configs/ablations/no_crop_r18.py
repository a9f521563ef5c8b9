# Difference 26: frames are only resized.
_base_ = '../stt_r18_ytv.py'
# changed keys: train_dataloader.dataset.pipeline
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadFrames'),
            dict(type='ClipResize', size=(256, 256)),
            dict(type='PackClip'),
        ]
    )
)
