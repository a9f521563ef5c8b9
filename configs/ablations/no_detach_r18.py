# Difference 10: gradient into the pseudo labels.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(detach=False))
