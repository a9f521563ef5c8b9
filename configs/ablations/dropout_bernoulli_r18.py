# Difference 5: a and b are dropped independently with probability 0.5.
_base_ = '../stt_r18_ytv.py'
model = dict(data_preprocessor=dict(dropout='bernoulli'))
