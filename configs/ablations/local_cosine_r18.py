# Difference 8: cosines at temperature 0.07 in the local affinities.
_base_ = '../stt_r18_ytv.py'
# changed keys: model.normalize model.temperature
model = dict(normalize=True, temperature=0.07)
