# Difference 4: rebuild a and b.
_base_ = '../stt_r18_ytv.py'
model = dict(reconstruction_head=dict(target='ab'))
