# Difference 35: the same dropped channel on every rank.
_base_ = '../stt_r18_ytv.py'
model = dict(data_preprocessor=dict(rank_shared=True))
