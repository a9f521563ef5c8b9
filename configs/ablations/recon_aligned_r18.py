# Difference 3: enlarge without the half-pixel shift.
_base_ = '../stt_r18_ytv.py'
model = dict(reconstruction_head=dict(upsample='aligned'))
