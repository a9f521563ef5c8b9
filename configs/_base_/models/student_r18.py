# What every temporal stage of STT has: a ResNet-18 on Lab that rebuilds a frame from its neighbour, here at res4 alone.
model = dict(
    type='STT',
    data_preprocessor=dict(type='ClipDataPreprocessor', student_color='lab', teacher_color='rgb', dropout='one'),
    backbone=dict(type='CorrespondenceResNet', depth=18, geometry='stride8', out_indices=(1, 2)),
    # Half width of the window in cells, per stage.
    radii=dict(res3=12, res4=6),
    reconstruction_head=dict(
        type='ReconstructionHead',
        stages=('res4',),
        weights=(1.0,),
        loss=dict(type='ReconstructionLoss', distance='smooth_l1', scale=20.0),
    ),
    propagator=dict(type='LabelPropagator', protocol=dict(name='stt_davis_s8')),
    feature_stage='res4',
)
