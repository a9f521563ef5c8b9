# Difference 13: the intended threshold, per image.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(selection='per_image'))
