# The formulas as the paper prints them. Where it gives no number (loss weights, temperature, threshold) the choice is
# ours: weight 1 on per-query norms, sqrt(C) on both sides, keep 0.7. What no formula says stays as in stt_r18_ytv:
# random crop and flip, where the paper only resizes (combine with no_crop_r18), and exactly one of a and b dropped,
# where it has "probability 0.5" (model.data_preprocessor.dropout=bernoulli).
# changed keys: model.reconstruction_head.loss.distance model.reconstruction_head.loss.scale
# changed keys: model.reconstruction_head.resolution model.reconstruction_head.target
# changed keys: model.local_head.loss.reduction model.local_head.weight
# changed keys: model.local_head.selection model.local_head.source
# changed keys: model.global_head.loss.reduction model.global_head.weight model.global_head.teacher_temperature
# changed keys: param_scheduler
_base_ = '../stt_r18_ytv.py'
model = dict(
    reconstruction_head=dict(target='all', resolution='stride', loss=dict(distance='l1', scale=1.0)),
    local_head=dict(selection='per_image', source='affinity', weight=1.0, loss=dict(reduction='query')),
    global_head=dict(teacher_temperature=None, weight=1.0, loss=dict(reduction='query')),
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=0, end=90000, T_max=90000)]
