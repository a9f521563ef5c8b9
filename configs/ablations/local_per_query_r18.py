# Difference 15: squared norm per query, weight 1.
_base_ = '../stt_r18_ytv.py'
# changed keys: model.local_head.loss.reduction model.local_head.weight
model = dict(local_head=dict(weight=1.0, loss=dict(reduction='query')))
