# Difference 1: L1 as printed (paper Eq. 5) instead of smooth-L1.
_base_ = '../stt_r18_ytv.py'
model = dict(reconstruction_head=dict(loss=dict(distance='l1')))
