# Temporal-then-spatial with DetCo, as in the other rows of Table 2, as the second half (paper Table 2: J&F 66.9).
# Evaluated in RGB, the colours of the last stage; the paper does not say.
_base_ = '../pretrain/detco_r50_in1k.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CorrespondenceResNet',
        depth=50,
        geometry='standard',
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{$STT_TEMPORAL_R50:work_dirs/temporal_then_spatial_r50_first/iter_45000.pth}}',
        ),
    )
)
