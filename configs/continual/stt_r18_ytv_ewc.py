# Spatial-then-temporal with elastic weight consolidation (the paper has a row for ResNet-50). The file is written by
# tools/estimate_fisher.py from stage 1; the paper gives neither lambda nor how the Fisher information was estimated:
# ours.
_base_ = '../stt/stt_r18_ytv_no_global.py'
model = dict(penalty=dict(type='EWCPenalty', checkpoint='{{$STT_FISHER_R18:pretrained/fisher_r18.pth}}', weight=1e3))
