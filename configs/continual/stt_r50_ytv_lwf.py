# Spatial-then-temporal with learning without forgetting (an earlier version of the paper: J&F 69.9). A
# reconstruction: no detail of it is published. Needs the full checkpoint of stage 1, with head and queue.
_base_ = '../stt/stt_r50_ytv_no_global.py'
model = dict(
    penalty=dict(
        type='LwFPenalty',
        checkpoint='{{$STT_STAGE1_FULL_R50:work_dirs/mocov2_r50_in1k/iter_1000800.pth}}',
        weight=1.0,
        temperature=2.0,
        logit_temperature=0.2,
        distance='distribution',
        backbone=dict(type='CorrespondenceResNet', depth=50, geometry='standard', out_indices=(3,)),
        neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=2048, hid_channels=2048, out_channels=128),
    )
)
