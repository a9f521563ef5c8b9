# Difference 9: pseudo labels that keep their mass.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(pooling='sum'))
