# A ResNet-50 teacher for the ResNet-18 student.
_base_ = '../stt_r18_ytv.py'
# changed keys: model.teacher.backbone.depth model.teacher.backbone.init_cfg.checkpoint
model = dict(
    teacher=dict(backbone=dict(depth=50, init_cfg=dict(checkpoint='{{$STT_STAGE1_R50:pretrained/stage1_r50.pth}}')))
)
