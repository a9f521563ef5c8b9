# Temporal stage alone, from scratch, without a teacher (paper Table 2, row "temporal only": J&F 67.5).
_base_ = '../stt_r50_ytv.py'
model = dict(backbone=dict(out_indices=(1, 2), init_cfg=None), global_head=None, teacher=None)
