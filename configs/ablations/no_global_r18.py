# Without global correlation distillation.
_base_ = '../stt_r18_ytv.py'
model = dict(global_head=None)
