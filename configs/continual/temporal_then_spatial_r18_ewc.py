# Temporal-then-spatial with elastic weight consolidation (the paper has a row for ResNet-50). The file is written by
# tools/estimate_fisher.py from the first half; lambda is ours.
_base_ = './temporal_then_spatial_r18.py'
model = dict(
    type='PenalisedMoCo',
    penalty=dict(
        type='EWCPenalty', checkpoint='{{$STT_FISHER_TEMPORAL_R18:pretrained/fisher_temporal_r18.pth}}', weight=1e3
    ),
)
