# STT stage 2 with ResNet-50 as student and teacher.
_base_ = './stt_r18.py'
model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='{{$STT_STAGE1_R50:pretrained/stage1_r50.pth}}')),
    teacher=dict(backbone=dict(depth=50, init_cfg=dict(checkpoint='{{$STT_STAGE1_R50:pretrained/stage1_r50.pth}}'))),
)
