# Spatial-then-temporal without global correlation distillation (paper Table 2: J&F 69.4).
_base_ = '../stt_r50_ytv.py'
model = dict(global_head=None, teacher=None)
