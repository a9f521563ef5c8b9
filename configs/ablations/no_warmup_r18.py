# Differences 24 and 25: plain cosine to 0, as the paper states it.
_base_ = '../stt_r18_ytv.py'
# changed keys: param_scheduler
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=0, end=90000, T_max=90000)]
