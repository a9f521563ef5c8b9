# Difference 4: rebuild all three channels.
_base_ = '../stt_r18_ytv.py'
model = dict(reconstruction_head=dict(target='all'))
