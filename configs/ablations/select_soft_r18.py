# Differences 13 and 31: soft weights.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(selection='soft'))
