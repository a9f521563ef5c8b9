# MAST as it is trained: the dropped channel of one frame is rebuilt from the other, in a window of 13 x 13 cells.
_base_ = './mast_r18.py'
model = dict(
    type='PairReconstruction',
    data_preprocessor=dict(type='ClipDataPreprocessor', student_color='lab', dropout='one'),
    # Half width of the window in cells.
    radii=dict(projection=6),
    border='zero',
    # Each frame has statistics of BatchNorm of its own.
    encoding='separate',
    reconstruction_head=dict(
        type='ReconstructionHead',
        stages=('projection',),
        weights=(1.0,),
        loss=dict(type='ReconstructionLoss', distance='smooth_l1', scale=20.0),
    ),
    # Trained with 1 / sqrt(64) before the softmax, which the released code does not have: on current PyTorch it is
    # reported not to converge without. Evaluated with it, too.
    propagator=dict(type='LabelPropagator', protocol=dict(name='mast_davis', temperature=8.0)),
)
