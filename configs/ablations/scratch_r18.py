# Difference 29: the student starts from scratch, the teacher stays.
_base_ = '../stt_r18_ytv.py'
model = dict(backbone=dict(init_cfg=None))
