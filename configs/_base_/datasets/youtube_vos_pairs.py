# Pairs of frames of all of YouTube-VOS train, 2, 5 or 8 frames apart, squeezed to 256 x 256 without a crop or a flip:
# MAST and the public unofficial LIIR. 6 pairs per process. One item is one video, here too.
_base_ = './youtube_vos.py'
train_dataloader = dict(
    batch_size=6,
    dataset=dict(
        split='train_all_frames',
        interval=(2, 5, 8),
        interval_probs=(0.4, 0.4, 0.2),
        pipeline=[
            dict(type='LoadFrames'),
            dict(type='ClipResize', size=(256, 256)),
            dict(type='PackClip'),
        ],
    ),
)
