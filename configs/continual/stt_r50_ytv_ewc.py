# Spatial-then-temporal with elastic weight consolidation (paper Table 2: J&F 69.6). The file is written by
# tools/estimate_fisher.py from stage 1; the paper gives neither lambda nor how the Fisher information was estimated:
# ours.
_base_ = '../stt/stt_r50_ytv_no_global.py'
model = dict(penalty=dict(type='EWCPenalty', checkpoint='{{$STT_FISHER_R50:pretrained/fisher_r50.pth}}', weight=1e3))
