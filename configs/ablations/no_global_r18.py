# Without global correlation distillation (spatial-then-temporal without L_gc; paper Table 2, row 4, for R50: J&F 69.4).
_base_ = '../stt_r18_ytv.py'
model = dict(global_head=None)
