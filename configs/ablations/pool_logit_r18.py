# Difference 9: correlations are pooled before the softmax.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(pooling='logit'))
