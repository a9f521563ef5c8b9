# Temporal-then-spatial at the size of pretrain/mocov2_r18_demo: MoCo v2 on images, from a backbone trained on videos.
_base_ = '../pretrain/mocov2_r18_demo.py'
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
