# Difference 18: squared norm per query, weight 1.
_base_ = '../stt_r18_ytv.py'
# changed keys: model.global_head.loss.reduction model.global_head.weight
model = dict(global_head=dict(weight=1.0, loss=dict(reduction='query')))
