# Temporal-then-spatial: MoCo v2 on ImageNet, 200 epochs, from a backbone trained on videos (the paper has ResNet-50).
# Evaluated in RGB, the colours of the last stage; the paper does not say.
_base_ = '../pretrain/mocov2_r18_in1k.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CorrespondenceResNet',
        depth=18,
        geometry='standard',
        out_indices=(3,),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{$STT_TEMPORAL_R18:work_dirs/temporal_then_spatial_r18_first/iter_90000.pth}}',
        ),
    )
)
