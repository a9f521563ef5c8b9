# Temporal-then-spatial whose first half was at stride 4; no row in the paper. Images are learned from as at stride 8
# and watched at stride 4, as eval/davis_spatial_r50_s4_rgb evaluates.
_base_ = './temporal_then_spatial_r50.py'
model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='{{$STT_TEMPORAL_R50_S4:work_dirs/temporal_then_spatial_r50_first_s4/iter_45000.pth}}')
    )
)
val_cfg = dict(
    model=dict(backbone=dict(geometry='stride4_maxpool'), propagator=dict(protocol=dict(name='stt_davis_s4')))
)
