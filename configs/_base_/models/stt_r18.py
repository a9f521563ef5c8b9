# STT stage 2 with the numerics of the released code: student R18 on Lab, frozen stage-1 teacher on RGB.
model = dict(
    type='STT',
    data_preprocessor=dict(type='ClipDataPreprocessor', student_color='lab', teacher_color='rgb', dropout='one'),
    backbone=dict(
        type='CorrespondenceResNet',
        depth=18,
        geometry='stride8',
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='{{$STT_STAGE1_R18:pretrained/stage1_r18.pth}}'),
    ),
    # Half width of the window in cells, per stage.
    radii=dict(res3=12, res4=6),
    reconstruction_head=dict(
        type='ReconstructionHead',
        stages=('res3', 'res4'),
        weights=(1.0, 1.0),
        loss=dict(type='ReconstructionLoss', penalty='smooth_l1', scale=20.0),
    ),
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
    propagator=dict(type='LabelPropagator', protocol=dict(name='stt_davis_s8')),
    feature_stage='res4',
)
