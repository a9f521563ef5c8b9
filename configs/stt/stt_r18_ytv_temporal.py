# Temporal stage alone, from scratch, without a teacher (paper Table 1, last row: J&F 69.3).
_base_ = '../stt_r18_ytv.py'
model = dict(backbone=dict(out_indices=(1, 2), init_cfg=None), global_head=None, teacher=None)
