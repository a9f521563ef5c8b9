# Difference 14: 0.7 read as a quantile keeps 30 %.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(keep_ratio=0.3))
