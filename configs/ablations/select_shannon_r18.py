# Difference 11: Shannon entropy, which keeps the flattest queries.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(measure='shannon'))
