# Temporal-then-spatial with elastic weight consolidation whose first half was at stride 4; no row in the paper. The
# file is written by tools/estimate_fisher.py from the first half; lambda is ours.
_base_ = './temporal_then_spatial_r18_s4.py'
model = dict(
    type='PenalisedMoCo',
    penalty=dict(
        type='EWCPenalty',
        checkpoint='{{$STT_FISHER_TEMPORAL_R18_S4:pretrained/fisher_temporal_r18_s4.pth}}',
        weight=1e3,
    ),
)
