# Without local correlation distillation.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=None)
