# Temporal-then-spatial with DetCo and elastic weight consolidation (paper Table 2: J&F 67.0). The file is written by
# tools/estimate_fisher.py from the first half; lambda is ours.
_base_ = './temporal_then_spatial_r50_detco.py'
model = dict(
    penalty=dict(
        type='EWCPenalty', checkpoint='{{$STT_FISHER_TEMPORAL_R50:pretrained/fisher_temporal_r50.pth}}', weight=1e3
    )
)
