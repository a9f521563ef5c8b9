# Difference 22: the released rate, at the batch of this config.
_base_ = '../stt_r18_ytv.py'
optim_wrapper = dict(optimizer=dict(lr=5e-5))
