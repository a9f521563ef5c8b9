# STT, late fusion (paper Table 3: J&F 72.1, J 69.5, F 74.7): temporal ResNet-18 on Lab, spatial ResNet-50 on RGB.
# Each takes its weights from its own init_cfg, so the command names no checkpoint:
#   python tools/test.py configs/eval/davis_late_fusion.py none --cfg-options \
#       model.backbones.0.init_cfg.checkpoint=TEMPORAL_R18.pth model.backbones.1.init_cfg.checkpoint=SPATIAL_R50.pth
# STT says that it follows SFC and gives no numbers, so weights and protocol are SFC's; `color` is the change.
_base_ = ['../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(
    type='LateFusion',
    backbones=[
        dict(
            type='CorrespondenceResNet',
            depth=18,
            geometry='stride8',
            out_indices=(2,),
            init_cfg=dict(type='Pretrained', checkpoint='work_dirs/stt_r18_ytv_temporal/iter_90000.pth'),
        ),
        dict(
            type='CorrespondenceResNet',
            depth=50,
            geometry='stride8_maxpool',
            out_indices=(2,),
            init_cfg=dict(type='Pretrained', checkpoint='{{$STT_STAGE1_R50:pretrained/stage1_r50.pth}}'),
        ),
    ],
    # lambda of the temporal network against 1: cosines count 0.754 and 0.246.
    weights=(1.75, 1.0),
    colors=('lab', 'rgb'),
    feature_stages=('res4', 'res4'),
    propagator=dict(type='LabelPropagator', protocol=dict(name='sfc_fusion_davis')),
)
