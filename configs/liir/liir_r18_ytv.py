# LIIR, second stage: points of other videos compete with the reference frame, and affinities are pulled together
# (J&F 72.1 on DAVIS-2017 val in the paper). Starts from the first stage; 2 GPUs x 6 pairs, 5 epochs at a tenth of its
# rate.
_base_ = './liir_r18_ytv_warmup.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='{{$STT_LIIR_WARMUP_R18:work_dirs/liir_r18_ytv_warmup/iter_174000.pth}}'
        ),
    ),
    negatives=dict(
        type='VideoNegatives',
        stage='res5',
        channels=256,
        frames=1440,
        points=4,
        stored=16,
        incoming=2,
        momentum=0.001,
        modulation='shifting',
    ),
    compactness_head=dict(
        type='CompactnessHead',
        stage='res5',
        weight=1.0,
        components=2,
        loss=dict(type='ReconstructionLoss', distance='smooth_l1', scale=20.0),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [dict(type='ConstantLR', by_epoch=False, factor=1.0)]
train_cfg = dict(max_iters=29000, val_interval=5800)
