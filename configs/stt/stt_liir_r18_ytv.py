# STT and LIIR at once, ResNet-18, stride 8: the full method of STT, whose res4 has LIIR's negatives of other videos and
# compactness, on a network with LIIR's position map. No paper has this. 4 GPUs x 32 clips.
_base_ = '../stt_r18_ytv.py'
model = dict(
    backbone=dict(
        position=dict(type='PositionMap', channels=64, size=(128, 128), kind='abs1d'),
        # Stage 1 knows no map; it starts at 0.
        init_cfg=dict(new=('position',)),
    ),
    negatives=dict(
        type='VideoNegatives',
        stage='res4',
        channels=256,
        frames=1440,
        points=4,
        stored=16,
        incoming=8,
        momentum=0.001,
        modulation='shifting',
    ),
    compactness_head=dict(
        type='CompactnessHead',
        stage='res4',
        weight=1.0,
        components=2,
        loss=dict(type='ReconstructionLoss', distance='smooth_l1', scale=20.0),
    ),
)
