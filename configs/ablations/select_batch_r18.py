# Difference 13: one threshold per batch.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(selection='batch'))
