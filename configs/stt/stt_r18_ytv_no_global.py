# Spatial-then-temporal without global correlation distillation (an earlier version of the paper: J&F 69.3).
_base_ = '../stt_r18_ytv.py'
model = dict(global_head=None, teacher=None)
