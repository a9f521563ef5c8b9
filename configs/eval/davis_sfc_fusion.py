# SFC's own fusion (J&F 71.2, J 68.3, F 74.0; its README 71.3): its fine-grained ResNet-18 and MoCo v1's ResNet-50, both
# on RGB, with max-pool and layer3 at stride 1. Zero padding in both, see davis_sfc_r18.py.
# Each takes its weights from its own init_cfg, so no checkpoint is named:
#   python tools/test.py configs/eval/davis_sfc_fusion.py none --cfg-options \
#       model.backbones.0.init_cfg.checkpoint=FC.pth model.backbones.1.init_cfg.checkpoint=MOCO_V1.pth.tar
_base_ = './davis_late_fusion.py'
model = dict(
    backbones=[
        dict(
            type='CorrespondenceResNet',
            depth=18,
            geometry='stride8_maxpool',
            out_indices=(2,),
            init_cfg=dict(type='Pretrained', checkpoint='pretrained/sfc_fc_r18.pth'),
        ),
        dict(
            type='CorrespondenceResNet',
            depth=50,
            geometry='stride8_maxpool',
            out_indices=(2,),
            init_cfg=dict(type='Pretrained', checkpoint='pretrained/moco_v1_r50.pth'),
        ),
    ],
    colors=('rgb', 'rgb'),
)
