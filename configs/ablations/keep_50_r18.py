# Difference 14: keep half of the queries.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(keep_ratio=0.5))
