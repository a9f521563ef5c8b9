# STT stage 2 with the numerics of the released code: student R18 on Lab, frozen stage-1 teacher on RGB.
_base_ = './student_r18.py'
model = dict(
    backbone=dict(
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='{{$STT_STAGE1_R18:pretrained/stage1_r18.pth}}'),
    ),
    reconstruction_head=dict(stages=('res3', 'res4'), weights=(1.0, 1.0)),
    local_head=dict(
        type='LocalCorrelationHead',
        weight=1000.0,
        pooling='avg',
        selection='released',
        keep_ratio=0.7,
        loss=dict(type='AffinityLoss', reduction='element'),
    ),
    global_head=dict(
        type='GlobalCorrelationHead',
        weight=50.0,
        teacher_temperature=0.07,
        loss=dict(type='AffinityLoss', reduction='element'),
    ),
    teacher=dict(
        type='FrozenTeacher',
        backbone=dict(
            type='CorrespondenceResNet',
            depth=18,
            geometry='standard',
            out_indices=(3,),
            init_cfg=dict(type='Pretrained', checkpoint='{{$STT_STAGE1_R18:pretrained/stage1_r18.pth}}'),
        ),
    ),
)
