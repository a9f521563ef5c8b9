# Difference 12: entropy of the distilled affinity itself.
_base_ = '../stt_r18_ytv.py'
model = dict(local_head=dict(source='affinity'))
