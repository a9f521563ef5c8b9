# Every query is distilled.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(selection=None))
